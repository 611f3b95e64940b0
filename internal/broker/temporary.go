package broker

import (
	"errors"
	"os"
)

// StartTemporary starts a broker for an example or a demo, on any free port and with a store that goes with
// it. stop ends the broker and removes the store. name is part of the directory's name; cfg.Store and
// cfg.Port are not used.
func StartTemporary(name string, cfg Config) (b *Broker, stop func() error, err error) {
	if cfg.Store, err = os.MkdirTemp("", "millhand-"+name+"-"); err != nil {
		return nil, nil, err
	}
	cfg.Port = -1
	if b, err = Start(cfg); err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(cfg.Store))
	}
	return b, func() error {
		b.Shutdown()
		return os.RemoveAll(cfg.Store)
	}, nil
}
