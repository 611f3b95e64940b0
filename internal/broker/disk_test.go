package broker

import (
	"bytes"
	"compress/flate"
	"testing"
)

// A trial that a file system can compress to nothing succeeds on a disk that is full.
func TestTrialNeedsItsRoom(t *testing.T) {
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(trialData()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if packed.Len() < trialSize {
		t.Errorf("a trial of %d bytes is one of %d", trialSize, packed.Len())
	}
}
