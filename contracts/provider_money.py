"""The provider's amounts: what Stripe takes for an amount of ours, and what its own amounts are with us.

Ours are minor units by ISO 4217; Stripe's differ from them for a few currencies (docs.stripe.com/currencies).
"""

from contracts.money import EXPONENTS, Money
from contracts.refusals import Refusal

#: What Stripe lists as presentment currencies, so far as ISO 4217 still has them.
SUPPORTED = frozenset(
    (  # noqa: SIM905 - a table of codes reads better as words than as quoted words
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CLP "
        "CNY COP CRC CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR "
        "ILS INR ISK JMD JOD JPY KES KGS KHR KMF KRW KWD KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP "
        "MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR "
        "SBD SCR SEK SGD SHP SLE SOS SRD SZL THB TJS TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VND VUV WST XAF "
        "XCD XCG XOF XPF YER ZAR ZMW"
    ).split()
)

#: Written with two decimals there, though they have none: kept so for integrations that are older than the change.
_HUNDREDFOLD = frozenset({"ISK", "UGX"})
#: Written without decimals there, though ISO gives it two.
_HUNDREDTH = frozenset({"MGA"})

#: By what an amount of ours must be divisible: HUF and TWD are paid out in whole units only, MGA has no decimals
#: there, and the third decimal must be zero.
STEP = dict.fromkeys(("HUF", "MGA", "TWD"), 100) | dict.fromkeys(("BHD", "JOD", "KWD", "OMR", "TND"), 10)

#: The least that Stripe documents, in our minor units; of any other currency it is one step.
MINIMUM = {
    "AED": 200,
    "AUD": 50,
    "BRL": 50,
    "CAD": 50,
    "CHF": 50,
    "CZK": 1500,
    "DKK": 250,
    "EUR": 50,
    "GBP": 30,
    "HKD": 400,
    "HUF": 17500,
    "INR": 50,
    "JPY": 50,
    "MXN": 1000,
    "MYR": 200,
    "NOK": 300,
    "NZD": 50,
    "PLN": 200,
    "RON": 200,
    "SEK": 300,
    "SGD": 50,
    "THB": 1000,
    "USD": 50,
}

#: Stripe's amounts have eight digits at most, but for a currency of which that would be little more than a meal.
PROVIDER_AMOUNT_MAX = 99_999_999
_PROVIDER_AMOUNT_MAX_OF = {"IDR": 999_999_999_999}


def provider_amount(money: Money) -> int | Refusal:
    """Return the amount as Stripe writes it, or why it cannot be written there; whether it is enough is `payable`'s."""
    if money.currency not in SUPPORTED:
        return Refusal.UNSUPPORTED_CURRENCY
    if money.amount_cents % STEP.get(money.currency, 1):
        return Refusal.INVALID_FIELD
    if money.currency in _HUNDREDFOLD:
        return money.amount_cents * 100
    return money.amount_cents // 100 if money.currency in _HUNDREDTH else money.amount_cents


def our_amount(amount: int, currency: str) -> Money:
    """Return what an amount of Stripe's is with us; its currencies may be in lower case.

    Raises:
        ValueError: we do not know the currency, or it is no whole number of its minor units.
    """
    code = currency.upper()
    if code not in EXPONENTS:
        raise ValueError("a currency that we do not know")
    if code in _HUNDREDFOLD:
        whole, rest = divmod(amount, 100)
        if rest:
            raise ValueError(f"no whole number of {code}")
        return Money(whole, code)
    return Money(amount * 100 if code in _HUNDREDTH else amount, code)


def payable(money: Money) -> Refusal | None:
    """Return why Stripe would not pay this amount, or None where it would."""
    amount = provider_amount(money)
    if isinstance(amount, Refusal):
        return amount
    if amount > _PROVIDER_AMOUNT_MAX_OF.get(money.currency, PROVIDER_AMOUNT_MAX):
        return Refusal.AMOUNT_OUT_OF_RANGE
    least = MINIMUM.get(money.currency, STEP.get(money.currency, 1))
    return Refusal.AMOUNT_BELOW_MINIMUM if money.amount_cents < least else None
