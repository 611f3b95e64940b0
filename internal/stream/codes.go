package stream

// The codes of the server that are decided on, by what they mean (nats-server: errors.json).

// A write's condition does not hold.
const (
	CodeWrongLastSeq     = 10071 // definite, and an [ErrConflict]
	CodeWrongLastSeqBusy = 10164 // on a cluster, while another write is in flight
)

// What is asked for is not there.
const (
	CodeNoMessage      = 10037
	CodeNoSequence     = 10043 // of a message that is to be deleted
	CodeStreamNotFound = 10059
	CodeDeleteFailed   = 10057 // of a message: it is gone, most likely
)

// The server cannot answer at the moment.
const (
	CodeNoPeers         = 10005 // the cluster has fewer nodes than copies, so far
	CodeUnavailable     = 10008 // no leader
	CodeNoJetStream     = 10076 // also while a server starts
	CodeIDInProcess     = 10158 // on a cluster, while a message with the same id is being stored
	CodeTooManyRequests = 10167 // the stream's inbound queue is full
)

// An atomic batch is not stored, or is stored already.
const (
	CodeAtomicDisabled   = 10174 // the stream does not take any
	CodeAtomicIncomplete = 10176 // a message was refused or did not come
	CodeAtomicTooLarge   = 10199 // more messages than the server takes
	CodeAtomicDuplicate  = 10201 // one of the message ids is known: the batch was stored before
	CodeAtomicBusy       = 10210 // too many batches at once
)

// There is no room.
const (
	CodeAccountFull = 10002 // the account's limit
	CodeNoResources = 10023
	CodeStorageFull = 10047 // what the account may have is not there
	CodeStoreFailed = 10077 // the stream's limits, among others
)

// The message will never be taken as it is.
const (
	CodeMessageTooLarge = 10054 // over the stream's max_msg_size
	CodeHeadersTooLarge = 10097 // over 64 KiB
	CodeStreamSealed    = 10109
	CodeScheduleInvalid = 10189
	CodeTargetInvalid   = 10190
)

// A stream or consumer is not made.
const (
	CodeNameInUse         = 10058
	CodeRestoreExists     = 10130
	CodeConsumerExists    = 10148 // with another configuration
	CodeConsumerLimit     = 10026
	CodeStreamLimit       = 10027
	CodeInvalidConfig     = 10052
	CodeNotClustered      = 10074
	CodeMaxBytesNeeded    = 10113
	CodeMaxBytesTooLarge  = 10122
	CodeNoJetStreamForYou = 10039
)
