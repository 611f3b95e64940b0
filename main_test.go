package millhand_test

import (
	"os"
	"testing"

	"github.com/millhand/millhand/internal/natstest"
)

func TestMain(m *testing.M) { os.Exit(natstest.Waiting{M: m}.Run()) }
