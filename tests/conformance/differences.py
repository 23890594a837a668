"""Where a server does not do what AWS documents. Each entry is a strict expected failure: one that vanishes is noticed.

The key is the backend and the test. The value is the page of AWS's documentation with its rule, which decides, and what
the backend does instead (ministack 1.5.33, moto 5.2.5, fauxqs 1.9.2).
"""

from collections.abc import Mapping

DIFFERENCES: Mapping[tuple[str, str], tuple[str, str]] = {
    ("moto", "test_the_attributes_of_a_queue_have_bounds[VisibilityTimeout-43201]"): (
        "CreateQueue: VisibilityTimeout 0 to 43,200",
        "any value is taken",
    ),
    ("moto", "test_the_attributes_of_a_queue_have_bounds[DelaySeconds-901]"): (
        "CreateQueue: DelaySeconds 0 to 900",
        "any value is taken",
    ),
    ("moto", "test_the_attributes_of_a_queue_have_bounds[MessageRetentionPeriod-59]"): (
        "CreateQueue: MessageRetentionPeriod 60 to 1,209,600",
        "any value is taken",
    ),
    ("moto", "test_the_attributes_of_a_queue_have_bounds[ReceiveMessageWaitTimeSeconds-21]"): (
        "CreateQueue: ReceiveMessageWaitTimeSeconds 0 to 20",
        "any value is taken",
    ),
    ("ministack", "test_an_attribute_that_is_none_is_refused"): (
        "GetQueueAttributes: InvalidAttributeName",
        "the name is passed over",
    ),
    ("fauxqs", "test_an_attribute_that_is_none_is_refused"): (
        "GetQueueAttributes: InvalidAttributeName",
        "the name is passed over",
    ),
    ("fauxqs", "test_dead_letters_need_a_queue_that_is_there"): (
        "SetQueueAttributes: deadLetterTargetArn is the ARN of a queue",
        "any ARN is taken",
    ),
    ("ministack", "test_attributes_that_are_not_allowed_are_refused[empty]"): (
        "Message metadata: Name, type and value are not empty",
        "the attributes are taken",
    ),
    ("moto", "test_attributes_that_are_not_allowed_are_refused[empty]"): (
        "Message metadata: Name, type and value are not empty",
        "the attributes are taken",
    ),
    ("fauxqs", "test_attributes_that_are_not_allowed_are_refused[empty]"): (
        "Message metadata: Name, type and value are not empty",
        "the attributes are taken",
    ),
    ("ministack", "test_attributes_that_are_not_allowed_are_refused[type]"): (
        "Message metadata: Type String, Number or Binary",
        "the attributes are taken",
    ),
    ("fauxqs", "test_attributes_that_are_not_allowed_are_refused[type]"): (
        "Message metadata: Type String, Number or Binary",
        "the attributes are taken",
    ),
    ("ministack", "test_attributes_that_are_not_allowed_are_refused[reserved name]"): (
        "Message metadata: Name does not start with AWS.",
        "the attributes are taken",
    ),
    ("moto", "test_attributes_that_are_not_allowed_are_refused[reserved name]"): (
        "Message metadata: Name does not start with AWS.",
        "the attributes are taken",
    ),
    ("fauxqs", "test_attributes_that_are_not_allowed_are_refused[reserved name]"): (
        "Message metadata: Name does not start with AWS.",
        "the attributes are taken",
    ),
    ("ministack", "test_attributes_that_are_not_allowed_are_refused[name]"): (
        "Message metadata: Name of letters, digits, _ - .",
        "the attributes are taken",
    ),
    ("moto", "test_attributes_that_are_not_allowed_are_refused[name]"): (
        "Message metadata: Name of letters, digits, _ - .",
        "the message is taken, and fails at its receive",
    ),
    ("fauxqs", "test_attributes_that_are_not_allowed_are_refused[name]"): (
        "Message metadata: Name of letters, digits, _ - .",
        "the attributes are taken",
    ),
    ("ministack", "test_attributes_that_are_not_allowed_are_refused[eleven]"): (
        "Message metadata: ten attributes at most",
        "the attributes are taken",
    ),
    ("moto", "test_attributes_that_are_not_allowed_are_refused[eleven]"): (
        "Message metadata: ten attributes at most",
        "the attributes are taken",
    ),
    ("fauxqs", "test_attributes_that_are_not_allowed_are_refused[eleven]"): (
        "Message metadata: ten attributes at most",
        "the attributes are taken",
    ),
    ("ministack", "test_attributes_count_as_part_of_the_message"): (
        "Message quotas: attributes are part of the message size",
        "only the body counts",
    ),
    ("moto", "test_attributes_count_as_part_of_the_message"): (
        "Message quotas: attributes are part of the message size",
        "only the body counts",
    ),
    ("moto", "test_a_message_without_a_body_is_refused"): (
        "SendMessage: at least one character",
        "the message is taken",
    ),
    ("fauxqs", "test_the_trace_of_a_request_travels_with_its_message"): (
        "SendMessage: AWSTraceHeader",
        "the header is dropped",
    ),
    ("fauxqs", "test_what_is_not_asked_for_is_not_told"): (
        "ReceiveMessage: MessageAttributeNames",
        "without names all attributes are told",
    ),
    ("fauxqs", "test_a_receipt_is_one_of_its_queue"): (
        "DeleteMessage: ReceiptHandleIsInvalid",
        "nothing is told",
    ),
    ("fauxqs", "test_in_a_batch_of_deletes_one_entry_may_fail_while_others_are_done"): (
        "DeleteMessageBatch: ReceiptHandleIsInvalid for the entry",
        "the entry is told as done",
    ),
    ("moto", "test_a_batch_of_receipts_needs_entries_with_ids_of_their_own_and_ten_at_most[delete_message_batch]"): (
        "DeleteMessageBatch: TooManyEntriesInBatchRequest",
        "eleven entries are taken",
    ),
    (
        "moto",
        "test_a_batch_of_receipts_needs_entries_with_ids_of_their_own_and_ten_at_most[change_message_visibility_batch]",
    ): (
        "ChangeMessageVisibilityBatch: EmptyBatchRequest",
        "an empty batch is taken",
    ),
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
