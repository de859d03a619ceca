package images

import (
	"context"
	"sync"
)

// flights has what several ask for at the same time done once. The zero value is ready.
type flights[T any] struct {
	mu     sync.Mutex
	flying map[string]*flight[T]
	work   sync.WaitGroup
}

// flight is one thing that is being done.
type flight[T any] struct {
	done   chan struct{} // closed when value and err are set
	cancel context.CancelFunc
	value  T
	err    error

	mu      sync.Mutex
	waiting map[*listener]bool
}

// listener is one who waits, and hears what is done.
type listener struct{ say func(string) }

// join does do under a key, or waits for who does so already. do is cancelled with life,
// and when nobody waits for it any more. say is called by one goroutine at a time, and
// not after join has returned.
func (f *flights[T]) join(ctx, life context.Context, key string, say func(string), do func(context.Context, func(string)) (T, error)) (T, error) {
	l := &listener{say}
	fl := f.board(life, key, l, do)
	defer f.leave(key, fl, l)
	select {
	case <-fl.done:
		return fl.value, fl.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

func (f *flights[T]) board(life context.Context, key string, l *listener, do func(context.Context, func(string)) (T, error)) *flight[T] {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl, ok := f.flying[key]; ok {
		fl.mu.Lock()
		defer fl.mu.Unlock()
		fl.waiting[l] = true
		return fl
	}
	ctx, cancel := context.WithCancel(life)
	fl := &flight[T]{done: make(chan struct{}), cancel: cancel, waiting: map[*listener]bool{l: true}}
	if f.flying == nil {
		f.flying = map[string]*flight[T]{}
	}
	f.flying[key] = fl
	f.work.Go(func() {
		defer cancel()
		value, err := do(ctx, fl.say)
		f.mu.Lock()
		defer f.mu.Unlock()
		fl.value, fl.err = value, err
		f.forget(key, fl)
		close(fl.done)
	})
	return fl
}

// leave ends a flight that has nobody on board. Who comes then begins another.
func (f *flights[T]) leave(key string, fl *flight[T], l *listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.mu.Lock()
	defer fl.mu.Unlock()
	delete(fl.waiting, l)
	if len(fl.waiting) == 0 {
		fl.cancel()
		f.forget(key, fl)
	}
}

func (f *flights[T]) forget(key string, fl *flight[T]) {
	if f.flying[key] == fl {
		delete(f.flying, key)
	}
}

// wait waits until nothing is being done. Nobody joins any more.
func (f *flights[T]) wait() { f.work.Wait() }

func (fl *flight[T]) say(line string) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	for l := range fl.waiting {
		l.say(line)
	}
}
