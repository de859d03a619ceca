package agent

import (
	"runtime"
	"syscall"
)

// starter starts processes from one thread, which may be shut in more tightly
// than the agent itself: what is started from it inherits that.
type starter struct{ orders chan func() }

// newStarter calls confine, unless it is nil, on the thread of the starter.
func newStarter(confine func() error) (*starter, error) {
	s := &starter{orders: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		var err error
		if confine != nil {
			err = confine()
		}
		ready <- err
		for order := range s.orders {
			order()
		}
	}()
	if err := <-ready; err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// start is syscall.ForkExec on that thread.
func (s *starter) start(path string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	done := make(chan struct{})
	s.orders <- func() {
		pid, err = syscall.ForkExec(path, argv, attr)
		close(done)
	}
	<-done
	return pid, err
}

// close ends the thread. No start may follow. Of nil there is nothing to end.
func (s *starter) close() {
	if s != nil {
		close(s.orders)
	}
}
