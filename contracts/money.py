"""Money: an integer count of minor units and an ISO 4217 currency. No floats, no rounding, ever."""

from decimal import Decimal

from contracts.canonical import DIGITS_MAX, integral
from contracts.refusals import Refusal
from contracts.values import dataclass

#: The largest amount of one payment or line, in minor units; the database holds the same ceiling.
AMOUNT_CENTS_MAX = 99_999_999_999

#: The currency of a message that names none.
DEFAULT_CURRENCY = "USD"

_TWO_DECIMALS = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP "
    "CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS "
    "INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN "
    "MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE "
    "SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR "
    "ZMW ZWG"
).split()
_NO_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split()
_THREE_DECIMALS = "BHD IQD JOD KWD LYD OMR TND".split()

#: ISO 4217 list one: how many decimals the major unit has. Funds codes, metals and test codes are left out,
#: since nobody can be paid in them.
EXPONENTS: dict[str, int] = (
    dict.fromkeys(_TWO_DECIMALS, 2) | dict.fromkeys(_NO_DECIMALS, 0) | dict.fromkeys(_THREE_DECIMALS, 3)
)


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units of one currency (`Money(15000, "USD")` is 150.00 USD)."""

    amount_cents: int
    currency: str

    def __str__(self) -> str:
        """Return the amount in major units with its currency, for people."""
        exponent = EXPONENTS[self.currency]
        return f"{Decimal(self.amount_cents).scaleb(-exponent):,.{exponent}f} {self.currency}"


def minor_units(value: int | Decimal) -> int | Refusal:
    """Return a wire amount as a whole number of minor units, or the reason why it is none.

    `350` and `350.0` are 350; `350.5` is refused rather than rounded.
    """
    if isinstance(value, Decimal):
        if not value.is_finite() or value.adjusted() > DIGITS_MAX:
            return Refusal.AMOUNT_OUT_OF_RANGE
        exact = integral(value)
        if exact is None:
            return Refusal.NON_INTEGER_MINOR_UNITS
        value = exact
    if value < 0:
        return Refusal.NEGATIVE_AMOUNT
    return value if value <= AMOUNT_CENTS_MAX else Refusal.AMOUNT_OUT_OF_RANGE


def currency_code(text: str | None) -> str | Refusal:
    """Return the ISO 4217 code that `text` names in any case, the default for None, or a refusal."""
    if text is None:
        return DEFAULT_CURRENCY
    code = text.upper() if text.isascii() else text  # some letters of other alphabets have a Latin capital
    return code if code in EXPONENTS else Refusal.UNSUPPORTED_CURRENCY
