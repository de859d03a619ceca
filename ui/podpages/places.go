package podpages

import (
	"context"
	"sync"
	"time"

	"podgate/store"
)

// places are what takes long and is had by so many at a time: in all, and each person,
// however many sessions they have. Nobody alone keeps the others out.
type places struct {
	most, each int

	mu  sync.Mutex
	all int
	of  map[store.UserID]int
}

func newPlaces(most, each int) *places {
	return &places{most: most, each: each, of: map[store.UserID]int{}}
}

// enter takes a place, if there is one. leave is to be called once.
func (p *places) enter(user store.UserID) (leave func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all >= p.most || p.of[user] >= p.each {
		return nil, false
	}
	p.all++
	p.of[user]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.all--
		if p.of[user]--; p.of[user] == 0 {
			delete(p.of, user)
		}
	}, true
}

// await is enter that waits for a place as long as patience lasts and ctx goes on.
func (p *places) await(ctx context.Context, user store.UserID, patience time.Duration) (leave func(), ok bool) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		if leave, ok = p.enter(user); ok {
			return leave, true
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return nil, false
		}
	}
}
