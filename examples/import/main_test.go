package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The test binary is the workers, too.
func TestMain(m *testing.M) {
	if os.Getenv(brokerEnv) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestRun(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out, 5_000); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	const want = `import-1: a worker is killed while it loads %d parts
import-1: 4795 rows, 5 lines rejected, 2 parts lost
import-2: cancelled after its publication, which is withdrawn
import-3: dead, since nobody approved
`
	if out.String() != fmt.Sprintf(want, 51) {
		t.Errorf("it says:\n%s", &out)
	}
}
