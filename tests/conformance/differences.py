"""Where a server does not do what AWS documents. Each entry is a strict expected failure: one that vanishes is noticed.

The key is the backend and the test. The value is the page of AWS's documentation with its rule, which decides, and what
the backend does instead (ministack 1.4, moto 5.2, fauxqs 1.9.2).
"""

from collections.abc import Mapping

DIFFERENCES: Mapping[tuple[str, str], tuple[str, str]] = {
    ("moto", "test_characters_outside_the_allowed_set_are_refused"): (
        "SendMessage: InvalidMessageContents",
        "the message is taken",
    ),
    ("moto", "test_in_a_batch_one_entry_may_fail_while_others_are_done"): (
        "SendMessageBatch: entries fail one by one",
        "the entry with forbidden characters is taken",
    ),
    ("ministack", "test_no_message_is_delayed_beyond_900_seconds"): (
        "SendMessage: DelaySeconds 0 to 900",
        "any delay is taken",
    ),
    ("fauxqs", "test_no_message_is_delayed_beyond_900_seconds"): (
        "SendMessage: DelaySeconds 0 to 900",
        "any delay is taken",
    ),
    ("ministack", "test_what_can_be_asked_for_has_bounds[wait]"): (
        "ReceiveMessage: WaitTimeSeconds 0 to 20",
        "any wait is taken",
    ),
    ("ministack", "test_what_can_be_asked_for_has_bounds[visibility]"): (
        "ReceiveMessage: VisibilityTimeout 0 to 43,200",
        "any timeout is taken",
    ),
    ("moto", "test_a_dead_letter_says_where_it_comes_from"): (
        "ReceiveMessage: DeadLetterQueueSourceArn",
        "the attribute is not told",
    ),
    ("fauxqs", "test_a_dead_letter_says_where_it_comes_from"): (
        "ReceiveMessage: DeadLetterQueueSourceArn",
        "the attribute is not told",
    ),
    ("ministack", "test_a_deleted_message_never_comes_again_and_deleting_it_again_is_no_error"): (
        "DeleteMessage: deleting again is no error",
        "ReceiptHandleIsInvalid",
    ),
    ("ministack", "test_an_older_receipt_deletes_nothing_and_says_that_it_did"): (
        "DeleteMessage: an older receipt is taken, the message may stay",
        "the entry fails",
    ),
    ("moto", "test_an_older_receipt_deletes_nothing_and_says_that_it_did"): (
        "DeleteMessage: use the most recent receipt",
        "the older receipt deletes the message",
    ),
    ("fauxqs", "test_a_receipt_that_is_none_is_refused"): (
        "DeleteMessage: ReceiptHandleIsInvalid",
        "nothing is told",
    ),
    ("ministack", "test_no_lease_is_longer_than_twelve_hours"): (
        "ChangeMessageVisibility: 0 to 43,200",
        "any timeout is taken",
    ),
    ("ministack", "test_all_leases_of_a_receive_together_are_not_longer_than_twelve_hours"): (
        "Visibility timeout: 12 hours from the receive",
        "each renewal begins anew",
    ),
    ("fauxqs", "test_all_leases_of_a_receive_together_are_not_longer_than_twelve_hours"): (
        "Visibility timeout: 12 hours from the receive",
        "each renewal begins anew",
    ),
    ("ministack", "test_what_is_not_in_flight_has_no_lease_to_renew"): (
        "ChangeMessageVisibility: MessageNotInflight",
        "the visible message is hidden",
    ),
    ("moto", "test_what_is_not_in_flight_has_no_lease_to_renew"): (
        "ChangeMessageVisibility: MessageNotInflight",
        "the visible message is hidden",
    ),
    ("fauxqs", "test_what_is_not_in_flight_has_no_lease_to_renew"): (
        "ChangeMessageVisibility: MessageNotInflight",
        "the visible message is hidden",
    ),
}
