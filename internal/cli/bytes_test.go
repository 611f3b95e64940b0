package cli

import "testing"

func TestSizes(t *testing.T) {
	for text, want := range map[string]Bytes{
		"1": 1, "500000": 500000, "64MiB": 64 << 20, "64mib": 64 << 20, "10G": 10 << 30, "1GB": 1e9, "2k": 2048, "3B": 3, "1TiB": 1 << 40,
		"": 0, "0": 0, "-1": 0, "1.5G": 0, "G": 0, "1 G": 0, "1X": 0, "9223372036854775807": 1<<63 - 1, "9223372036854775807K": 0, "99999999999999999999": 0,
	} {
		var got Bytes
		if err := got.Set(text); got != want || (err == nil) != (want > 0) {
			t.Errorf("%q is %d (%v), want %d", text, got, err, want)
		}
	}
}
