package web

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/view"
)

// problemOf says what an error means to whoever looks.
func (v *visit) problemOf(err error) *problem {
	taken, isTaken := errors.AsType[*millhand.DuplicateError](err)
	invalid, isInvalid := errors.AsType[*job.InvalidError](err)
	switch {
	case isTaken:
		return &problem{status: http.StatusConflict, title: "The id is taken", text: strings.TrimPrefix(taken.Error(), "millhand: ") + ". Nothing was done.", hint: "Leave the id out, or choose another one."}
	case isInvalid:
		return &problem{status: http.StatusBadRequest, title: "This cannot be", text: invalid.Error() + "."}
	case errors.Is(err, millhand.ErrInvalid):
		return &problem{status: http.StatusBadRequest, title: "This cannot be", text: err.Error() + "."}
	case errors.Is(err, view.ErrCursor):
		return &problem{status: http.StatusBadRequest, title: "This page of the list is gone", text: "What it began with is there no more.", hint: "Begin the list anew."}
	case errors.Is(err, queue.ErrNotFound), errors.Is(err, millhand.ErrNotFound), errors.Is(err, millhand.ErrNoRecord):
		return &problem{status: http.StatusNotFound, title: "Nothing is known of it", text: "It is in no queue, not among the dead, and no event of it is kept."}
	case errors.Is(err, queue.ErrChanged):
		return &problem{status: http.StatusConflict, title: "It has changed meanwhile", text: "It is not as it was shown: it ran, was moved, or somebody else did something to it. Nothing was done.", hint: "Look at it again."}
	case errors.Is(err, nats.ErrPermissionViolation):
		return &problem{status: http.StatusForbidden, title: "The broker refuses this", text: err.Error(), hint: "The dashboard's user of the broker lacks a permission."}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrNoResponders), errors.Is(err, nats.ErrTimeout), errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrDisconnected),
		errors.Is(err, nats.ErrReconnectBufExceeded):
		return &problem{status: http.StatusServiceUnavailable, title: "The broker does not answer", text: err.Error(), hint: "This page comes back by itself once it does."}
	}
	return &problem{status: http.StatusInternalServerError, title: "This did not work", text: err.Error()}
}
