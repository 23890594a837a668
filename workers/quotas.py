"""What Amazon SQS and EventBridge allow per request and per message; all of it from their published quotas."""

#: Entries of one receive, delete, change-visibility, send or PutEvents request.
BATCH_MAX = 10
#: Attributes of one message.
ATTRIBUTES_MAX = 10
#: How long a message can be kept invisible in all, from its receive on: 12 hours, in seconds.
VISIBILITY_MAX_S = 43_200
#: Bytes of one request, with room for what surrounds ours: 256 KiB was the quota of both services for years and is
#: the smallest one still in force anywhere.
BATCH_BYTES_MAX = 240_000
