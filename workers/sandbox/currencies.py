"""Which amounts the provider moves: Stripe's currencies and its rules about their smallest parts."""

from workers.sandbox.refusals import Refusal

#: The largest amount of one transfer, in the currency's smallest unit: eight digits.
AMOUNT_MAX = 99_999_999

_CODES = (
    "aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf chf clp "
    "cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl htg huf idr ils inr "
    "isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn "
    "myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle "
    "sos srd std szl thb tjs tnd top try ttd twd tzs uah ugx usd uyu uzs vnd vuv wst xaf xcd xcg xof xpf yer zar "
    "zmw"
)
SUPPORTED = frozenset(_CODES.split())

#: Of which amount every amount must be a multiple: the last digit of three decimals is not paid, and two currencies
#: are written with two decimals though they have none.
STEPS = dict.fromkeys(("bhd", "jod", "kwd", "omr", "tnd"), 10) | dict.fromkeys(("isk", "ugx"), 100)


def check(amount: int, currency: str) -> None:
    """Raise if the provider does not move this amount.

    Raises:
        Refusal: it does not.
    """
    if currency not in SUPPORTED:
        raise Refusal(400, f"Invalid currency: {currency}.", param="currency")
    if amount > AMOUNT_MAX:
        raise Refusal(400, "Amount must be no more than 999,999.99.", code="amount_too_large", param="amount")
    step = STEPS.get(currency, 1)
    if amount % step:
        raise Refusal(400, f"Amounts in {currency} must be multiples of {step}.", param="amount")
