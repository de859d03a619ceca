package oauth

import (
	"sync"
	"time"
)

// memory remembers values for a while, and only so many of them. It is safe
// for concurrent use.
type memory[K comparable, V any] struct {
	ttl time.Duration
	max int

	mu      sync.Mutex
	entries map[K]remembered[V]
}

type remembered[V any] struct {
	value V
	since time.Time
}

func newMemory[K comparable, V any](ttl time.Duration, limit int) *memory[K, V] {
	return &memory[K, V]{ttl: ttl, max: limit, entries: map[K]remembered[V]{}}
}

func (m *memory[K, V]) get(key K, now time.Time) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[key]
	return e.value, ok && now.Sub(e.since) < m.ttl
}

// put forgets what is over when there is no room, and everything when that is
// not enough: what is remembered here only saves work.
func (m *memory[K, V]) put(key K, value V, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.entries) >= m.max {
		for k, e := range m.entries {
			if now.Sub(e.since) >= m.ttl {
				delete(m.entries, k)
			}
		}
	}
	if len(m.entries) >= m.max {
		clear(m.entries)
	}
	m.entries[key] = remembered[V]{value, now}
}

func (m *memory[K, V]) forget(key K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, key)
}
