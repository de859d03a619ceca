package images

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var errSilent = fmt.Errorf("nothing came for %v", silence)

// watch ends a pull to which nothing comes.
type watch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

// newWatch returns a context that ends when alive is not called for too long.
func newWatch(ctx context.Context) (context.Context, *watch) {
	w := &watch{}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(silence, func() { w.cancel(errSilent) })
	return w.ctx, w
}

func (w *watch) alive() { w.timer.Reset(silence) }

func (w *watch) end() {
	w.timer.Stop()
	w.cancel(nil)
}

// cause is why a pull failed with err.
func (w *watch) cause(err error) error {
	if errors.Is(context.Cause(w.ctx), errSilent) {
		return errSilent
	}
	return err
}

// teller tells of a layer that takes long.
type teller struct {
	say  func(string)
	now  func() time.Time
	came int64
	told time.Time
}

func (t *teller) add(n int) {
	t.came += int64(n)
	if now := t.now(); now.Sub(t.told) >= sayEvery {
		t.told = now
		t.say(fmt.Sprintf("unpacked %.0f MB of the image", float64(t.came)/1e6))
	}
}
