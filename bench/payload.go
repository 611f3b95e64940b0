package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// payloadSize is the size of every job, in bytes.
const payloadSize = 200

// Where the numbers stand in a payload. They are JSON strings, to be of a fixed width.
const (
	numberAt, numberEnd = 6, 16
	sentAt, sentEnd     = 26, 45
)

var errPayload = errors.New("payload is not of this bench")

// newPayload returns the payload of job n, sent at a time.
func newPayload(n int, sent time.Time) []byte {
	b := fmt.Appendf(make([]byte, 0, payloadSize), `{"n":"%010d","sent":"%019d","fill":"`, n, sent.UnixNano())
	b = append(b, strings.Repeat("x", payloadSize-len(b)-2)...)
	return append(b, `"}`...)
}

// readPayload is the whole work of a no-op job: cheap, and the same for all contestants.
func readPayload(b []byte) (n int, sent int64, err error) {
	if len(b) != payloadSize {
		return 0, 0, errPayload
	}
	n, err = strconv.Atoi(string(b[numberAt:numberEnd]))
	if err == nil {
		sent, err = strconv.ParseInt(string(b[sentAt:sentEnd]), 10, 64)
	}
	if err != nil {
		return 0, 0, errPayload
	}
	return n, sent, nil
}
