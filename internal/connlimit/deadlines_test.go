package connlimit

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// refuse answers without a look at the body.
func refuse(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "no\n")
	}
}

// Whoever announces a body and does not send it gets the answer, and then the
// connection ends.
func TestUnreadBodiesHoldNoConnection(t *testing.T) {
	t.Parallel()
	handlers := map[string]http.HandlerFunc{
		"says nothing":  func(http.ResponseWriter, *http.Request) {},
		"a long answer": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 100_000)) },
		"a flush":       func(w http.ResponseWriter, _ *http.Request) { _ = http.NewResponseController(w).Flush() },
		"half is read": func(w http.ResponseWriter, r *http.Request) {
			_, _ = r.Body.Read(make([]byte, 2))
			w.WriteHeader(http.StatusBadRequest)
		},
		"closes the body": func(w http.ResponseWriter, r *http.Request) { _ = r.Body.Close() },
		"answers and closes": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "no\n") // which waits in a buffer
			_ = r.Body.Close()
		},
	}
	for _, status := range []int{200, 302, 400, 401, 403, 404, 405, 413, 421, 429, 500} {
		handlers[fmt.Sprint(status)] = refuse(status)
	}
	bodies := map[string]string{
		"length": "Content-Length: 50\r\n\r\nhel", "large": "Content-Length: 5000000\r\n\r\nhel", "chunks": "Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
		"expects": "Content-Length: 50\r\nExpect: 100-continue\r\n\r\n",
	}
	for name, handler := range handlers {
		for kind, body := range bodies {
			if kind == "expects" && name == "half is read" {
				continue // it asks for the body
			}
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					v, start := served(t, handler).visit(t), time.Now()
					v.send("POST / HTTP/1.1\r\nHost: x\r\n" + body)
					res := v.answer()
					patience := settleTime
					if name == "closes the body" {
						patience = lingerTime // as it says that nobody wants the rest
					}
					if took := time.Since(start); took > patience || !res.Close {
						t.Errorf("answered after %v, and the connection ends: %v", took, res.Close)
					}
					took := v.ended()
					if took > lingerTime+time.Second {
						t.Errorf("held for %v", took)
					}
					if kind == "large" && took == 0 {
						t.Error("closed on somebody who still sends, which takes the answer away")
					}
				})
			})
		}
	}
}

// A handler that hangs up in a panic leaves no body to wait for either.
func TestPanicsHoldNoConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := served(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }).visit(t)
		v.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nhel")
		if took := v.ended(); took > lingerTime {
			t.Errorf("held for %v", took)
		}
	})
}

// A body that is on its way costs nobody the connection: a client's first call
// has no token and is refused, and the next goes over the same connection.
func TestRefusedBodiesThatArriveKeepTheConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := served(t, refuse(http.StatusUnauthorized)).visit(t)
		for _, body := range []string{"Content-Length: 5\r\n\r\nhe", "Transfer-Encoding: chunked\r\n\r\n5\r\nhe"} {
			v.send("POST / HTTP/1.1\r\nHost: x\r\n" + body)
			time.Sleep(settleTime / 2) // fake
			v.send("llo" + map[bool]string{true: "\r\n0\r\n\r\n"}[strings.Contains(body, "chunked")])
			if res := v.answer(); res.StatusCode != http.StatusUnauthorized || res.Close {
				t.Errorf("%d, and the connection ends: %v", res.StatusCode, res.Close)
			}
		}
	})
}

// Whoever sends before reading has the time to send, so that no reset takes the
// answer away.
func TestAnswerReachesWhoStillSends(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := served(t, refuse(http.StatusUnauthorized)).visit(t)
		v.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
		res := v.answer()
		time.Sleep(lingerTime / 2)
		v.send("0123456789")
		if took := v.ended(); res.StatusCode != http.StatusUnauthorized || took > 0 {
			t.Errorf("%d, held for %v", res.StatusCode, took)
		}
	})
}

// readAll sends on what came of the reading.
func readAll(outcome chan<- error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/until" {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Minute))
		}
		_, err := io.Copy(io.Discard, r.Body)
		outcome <- err
	}
}

// A body may take its time, but no pauses; with an end for the whole it has
// that, too.
func TestPausesOfBodies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path  string
		pause time.Duration
		ends  bool
	}{
		"slow": {"/", 25 * time.Second, false}, "pauses": {"/", idleTime + time.Second, true},
		"slow until": {"/until", 25 * time.Second, true}, "in time": {"/until", 5 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				outcome := make(chan error, 1)
				v := served(t, readAll(outcome)).visit(t)
				v.send("POST " + c.path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
				for range 4 {
					time.Sleep(c.pause)
					if _, err := io.WriteString(v, "x"); err != nil {
						break
					}
				}
				if err := <-outcome; errors.Is(err, os.ErrDeadlineExceeded) != c.ends {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

// The time of a body counts while somebody reads it.
func TestSlowHandlersEndNoBody(t *testing.T) {
	t.Parallel()
	slow := func(outcome chan<- error) http.HandlerFunc {
		return func(_ http.ResponseWriter, r *http.Request) {
			for {
				if _, err := r.Body.Read(make([]byte, 4)); err != nil {
					outcome <- err
					return
				}
				time.Sleep(time.Hour)
			}
		}
	}
	for _, proto := range []string{"HTTP/1.1", "HTTP/2"} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				outcome := make(chan error, 1)
				body, send := io.Pipe()
				go func() {
					for range 2 {
						fmt.Fprint(send, "0123")
						time.Sleep(time.Hour - time.Second) // in time for the next read
					}
					fmt.Fprint(send, "0123")
					send.Close()
				}()
				if proto == "HTTP/2" {
					res, err := servedH2(t, slow(outcome)).Post("https://pods.example.com", "", body)
					if err != nil {
						t.Fatal(err)
					}
					defer res.Body.Close()
				} else {
					v := served(t, slow(outcome)).visit(t)
					v.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n")
					go func() { _, _ = io.Copy(v.Conn, body) }()
					v.answer()
				}
				if err := <-outcome; err != io.EOF {
					t.Error(err)
				}
			})
		})
	}
}

// Reading on at the end of a body, or sending before it, sets no deadline under
// which the request would end.
func TestRequestsOutliveTheirBodies(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(http.ResponseWriter, *http.Request){
		"read twice": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			_, _ = io.ReadAll(r.Body)
		},
		"closed": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			_ = r.Body.Close()
		},
		"ended": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Minute))
		},
		"answered": func(w http.ResponseWriter, _ *http.Request) { _ = http.NewResponseController(w).Flush() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				v := served(t, func(w http.ResponseWriter, r *http.Request) {
					before(w, r)
					select {
					case <-r.Context().Done():
						t.Error("the request was ended")
					case <-time.After(time.Hour):
					}
				}).visit(t)
				v.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
				if res := v.answer(); res.StatusCode != 200 {
					t.Errorf("%d", res.StatusCode)
				}
			})
		})
	}
}

// Who answers first and reads on may do so, with the same pauses.
func TestFullDuplex(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got []byte
		v := served(t, func(w http.ResponseWriter, r *http.Request) {
			control := http.NewResponseController(w)
			if err := errors.Join(control.EnableFullDuplex(), control.Flush()); err != nil {
				t.Error(err)
			}
			got, _ = io.ReadAll(io.LimitReader(r.Body, 5))
			_ = r.Body.Close() // as a proxy does, which keeps the error to itself
			if r.Body.Close() != nil {
				panic(http.ErrAbortHandler)
			}
		}).visit(t)
		v.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n")
		go func() {
			for _, part := range []string{"he", "ll", "o"} {
				time.Sleep(idleTime - time.Second)
				fmt.Fprint(v, part)
			}
		}()
		start := time.Now()
		head, err := http.ReadResponse(v.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer head.Body.Close()
		if _, err := io.ReadAll(head.Body); err != io.ErrUnexpectedEOF || string(got) != "hello" {
			t.Errorf("%v after %q", err, got)
		}
		if took := time.Since(start); took != 3*(idleTime-time.Second)+lingerTime {
			t.Errorf("held for %v", took)
		}
	})
}

// flood writes until it cannot, and sends on why and when.
func flood(outcome chan<- error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				outcome <- err
				return
			}
		}
	}
}

// A reader who stalls is let go; one who reads slowly is not.
func TestStalledReadersAreLetGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		outcome, start := make(chan error, 1), time.Now()
		v := served(t, flood(outcome)).visit(t)
		v.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		for range 30 { // half a megabyte, in no time at which one would call it stalled
			if _, err := io.CopyN(io.Discard, v.r, piece); err != nil {
				t.Fatal(err)
			}
			time.Sleep(stallTime - 10*time.Second)
		}
		read := time.Since(start)
		if err := <-outcome; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) > read+stallTime {
			t.Errorf("%v after %v of nothing", err, time.Since(start)-read)
		}
	})
}

func TestStalledStreamsAreLetGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		outcome, start := make(chan error, 1), time.Now()
		client := servedH2(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/flood" {
				flood(outcome)(w, r)
			}
		})
		res, err := client.Get("https://pods.example.com/flood")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if err := <-outcome; err == nil || time.Since(start) > 2*stallTime {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		// The connection's other streams go on.
		other, err := client.Get("https://pods.example.com/")
		if err != nil || other.ProtoMajor != 2 {
			t.Fatal(other, err)
		}
		defer other.Body.Close()
	})
}

// A stream lives on as long as somebody reads it, whatever it has to say.
func TestQuietStreamsLiveOn(t *testing.T) {
	t.Parallel()
	quiet := func(w http.ResponseWriter, r *http.Request) {
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			select {
			case <-r.Context().Done():
				t.Error("the request was ended")
			case <-time.After(5 * time.Hour):
			}
		}
	}
	for _, proto := range []string{"HTTP/1.1", "HTTP/2"} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var body io.Reader
				if proto == "HTTP/2" {
					res, err := servedH2(t, quiet).Post("https://pods.example.com", "", strings.NewReader("x"))
					if err != nil {
						t.Fatal(err)
					}
					defer res.Body.Close()
					body = res.Body
				} else {
					v := served(t, quiet).visit(t)
					v.send("POST / HTTP/1.0\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
					body = v.r
				}
				text, err := io.ReadAll(body)
				if err != nil || !strings.HasSuffix(string(text), "data: 0\n\ndata: 1\n\ndata: 2\n\n") {
					t.Errorf("%q %v", text, err)
				}
			})
		})
	}
}

// So does a connection that was taken over, until its reader stalls.
func TestTakenOverConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		outcome := make(chan error, 1)
		v := served(t, func(w http.ResponseWriter, r *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				outcome <- err
				return
			}
			defer c.Close()
			for range 3 {
				time.Sleep(5 * time.Hour)
				if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
					t.Error(err)
				}
				fmt.Fprint(c, "pong")
			}
			for err == nil {
				_, err = c.Write(make([]byte, 1<<20))
			}
			outcome <- err
		}).visit(t)
		v.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		for range 3 {
			v.send("ping")
			if _, err := io.ReadFull(v.r, make([]byte, 4)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Hour)
		}
		start := time.Now()
		if err := <-outcome; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) > stallTime {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// What the server says before any handler has its time as well.
func TestStalledRefusalsOfTheServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := served(t, refuse(200)).visit(t)
		v.send("nonsense\r\n\r\n")
		time.Sleep(stallTime + time.Second)
		v.ended() // nothing was read, and nothing is left
	})
}

// deadlines is an answer that remembers the deadline of its reads.
type deadlines struct {
	http.ResponseWriter
	read time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error { d.read = t; return nil }

// The proxy closes a body that is being read in another goroutine. What still
// comes then extends nothing.
func TestBodyClosedWhileItIsRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		answer := &deadlines{}
		from, to := net.Pipe()
		b := &body{ReadCloser: from, control: http.NewResponseController(answer)}
		read := make(chan error)
		go func() {
			_, err := b.Read(make([]byte, 4))
			read <- err
		}()
		synctest.Wait()
		want := time.Now().Add(lingerTime)
		b.linger()
		time.Sleep(time.Second)
		fmt.Fprint(to, "x")
		if err := <-read; err != nil || !answer.read.Equal(want) {
			t.Errorf("%v; the end is %v later than it was", err, answer.read.Sub(want))
		}
		go fmt.Fprint(to, "x")
		if _, err := b.Read(make([]byte, 4)); err != nil || !answer.read.Equal(want) {
			t.Errorf("%v; the end is %v later than it was", err, answer.read.Sub(want))
		}
	})
}

// A connection that was taken over is its taker's, when the handler is through
// as well.
func TestTakenOverConnectionOutlivesItsHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := served(t, func(w http.ResponseWriter, r *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, io.LimitReader(c, 4))
			}()
		}).visit(t)
		v.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n")
		time.Sleep(time.Hour)
		v.send("late")
		if text, err := io.ReadAll(v.r); string(text) != "late" {
			t.Errorf("%q, %v", text, err)
		}
	})
}
