//go:build wasip1

package wasihttp

import (
	"encoding/binary"
	"runtime"
	"time"
	"unsafe"
)

// There is one thread, and a call that waits in the host holds up every goroutine. So a goroutine that has to wait for
// the host leaves a waiter behind and parks, and the goroutine that the host called waits for all of them at once, but
// only when no other can run. Goroutines that wait for nothing but each other or a timer need none of this: Go's own
// scheduler has them in hand.

// Someone who waits for the host.
type waiter struct {
	pollable       uint32
	woken          chan struct{}
	previous, next *waiter
}

var (
	// The ends of the list of all that wait, which are not part of it.
	firstWaiter, lastWaiter waiter
	waiters                 int
	// Tells the loop that something has changed.
	changed = make(chan struct{}, 1)
)

func init() {
	firstWaiter.next = &lastWaiter
	lastWaiter.previous = &firstWaiter
}

// wait parks the goroutine until a pollable is ready. Whoever calls forget for it sets it to 0 before; then wait comes
// back as well.
func wait(pollable *uint32) {
	w := &waiter{woken: make(chan struct{}, 1)}
	// Others may have run while that was allocated.
	if *pollable == 0 {
		return
	}
	w.pollable = *pollable
	w.previous, w.next = lastWaiter.previous, &lastWaiter
	w.previous.next, w.next.previous = w, w
	waiters++
	tellLoop()
	<-w.woken
}

func (w *waiter) wake() {
	w.previous.next, w.next.previous = w.next, w.previous
	waiters--
	w.woken <- struct{}{}
}

// forget drops a pollable, and wakes those who wait for it.
func forget(pollable uint32) {
	for w := firstWaiter.next; w != &lastWaiter; {
		next := w.next
		if w.pollable == pollable {
			w.wake()
		}
		w = next
	}
	dropPollable(pollable)
}

func tellLoop() {
	select {
	case changed <- struct{}{}:
	default:
	}
}

const (
	// How often all others are let run before the loop waits in the host. A goroutine that yields runs again when no other
	// can, with few exceptions, and none that lasts for more than one turn.
	turns = 3
	// While the loop waits in the host, timers of Go wait too. So it comes back at times: often at first, then after a
	// sixteenth of the time that it has waited already, at the latest after maxPause. If every goroutine waits for the
	// host, there can be no other timers than those that call a function, and it need not hurry.
	minPause     = time.Millisecond
	maxPause     = 20 * time.Millisecond
	maxPauseIdle = 200 * time.Millisecond
)

// runUntil lets goroutines run until one has set done and called tellLoop.
func runUntil(done *bool) {
	var since time.Time
	for !*done {
		if waiters == 0 {
			// If no goroutine can run, and no timer will change that, Go ends the program here, and says so.
			<-changed
			since = time.Time{}
			continue
		}
		for range turns {
			runtime.Gosched()
		}
		if *done || waiters == 0 {
			continue
		}
		now := time.Now()
		if since.IsZero() {
			since = now
		}
		longest := maxPause
		if runtime.NumGoroutine() <= waiters+1 {
			longest = maxPauseIdle
		}
		pause := min(max(now.Sub(since)/16, minPause), longest)
		if next, ok := nextDeadline(); ok {
			pause = max(min(pause, next.Sub(now)), 0)
		}
		if poll(pause) {
			since = time.Time{}
		}
	}
}

var (
	polled      []*waiter
	pollHandles []uint32
	pollOutput  []byte
)

// poll waits in the host until something is ready or the time is over, and wakes those who waited. It says whether
// there were any.
func poll(pause time.Duration) bool {
	// The list can get longer while this allocates, and must not afterwards.
	for len(polled) < waiters {
		size := 2*waiters + 6
		pollHandles = make([]uint32, size+1)
		pollOutput = make([]byte, 4*(size+1)+8)
		polled = make([]*waiter, size)
	}
	count := 0
	for w := firstWaiter.next; w != &lastWaiter; w = w.next {
		polled[count] = w
		pollHandles[count] = w.pollable
		count++
	}
	clock := clockSubscribeDuration(uint64(pause))
	pollHandles[count] = clock

	lend(pollOutput)
	pollPoll(unsafe.Pointer(unsafe.SliceData(pollHandles)), uint32(count+1), pollResult.pointer())
	takeBack()
	start := pollResult.u32(0) - uint32(uintptr(unsafe.Pointer(unsafe.SliceData(pollOutput))))
	ready := pollOutput[start : start+4*pollResult.u32(4)]
	dropPollable(clock)

	any := false
	for ; len(ready) > 0; ready = ready[4:] {
		if at := binary.LittleEndian.Uint32(ready); at < uint32(count) {
			polled[at].wake()
			any = true
		}
	}
	clear(polled[:count])
	return any
}
