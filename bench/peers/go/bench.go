package main

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const stalledAfter = time.Minute

type figures map[string]float64

type bench struct {
	peer  peer
	count int
	rate  int
	seen  atomic.Int64
	mutex sync.Mutex
	late  []float64
}

func (b *bench) work(name string) figures {
	switch name {
	case "create-one":
		return b.create(1, concurrency)
	case "create-many":
		size, atOnce := b.peer.batches()
		return b.create(min(size, 100), atOnce)
	case "run":
		return b.run()
	case "burst":
		return b.burst()
	case "steady":
		return b.steady()
	}
	must(fmt.Errorf("unknown work %q", name))
	return nil
}

func (b *bench) create(size, atOnce int) figures {
	moments := b.fill(time.Now().Add(farAway).UnixMilli())
	start := time.Now()
	b.add(moments, size, atOnce)
	return b.since(start)
}

func (b *bench) run() figures {
	b.warmUp()
	size, atOnce := b.peer.batches()
	start := time.Now()
	b.add(b.fill(0), min(size, 100), atOnce)
	b.wait(int64(b.count))
	return b.since(start)
}

func (b *bench) burst() figures {
	b.warmUp()
	b.addInTime(b.fill(b.soon()))
	b.wait(int64(b.count))
	slices.Sort(b.late)
	last := b.percentile(1)
	return figures{
		"per_s":    float64(b.count) / last * 1e3,
		"first_ms": b.percentile(0),
		"p50_ms":   b.percentile(.5),
		"last_ms":  last,
	}
}

func (b *bench) steady() figures {
	b.warmUp()
	moments := b.fill(b.soon())
	for i := range moments {
		moments[i] += int64(i * 1000 / b.rate)
	}
	b.addInTime(moments)
	b.wait(int64(b.count))
	slices.Sort(b.late)
	return figures{"p50_ms": b.percentile(.5), "p99_ms": b.percentile(.99), "p999_ms": b.percentile(.999)}
}

// add creates one task for each moment: `size` tasks a call, `atOnce` calls at the same time.
func (b *bench) add(moments []int64, size, atOnce int) {
	var batches = make(chan []int64, len(moments)/size+1)
	for batch := range slices.Chunk(moments, size) {
		batches <- batch
	}
	close(batches)
	var clients sync.WaitGroup
	for range atOnce {
		clients.Go(func() {
			for batch := range batches {
				b.peer.put(batch)
			}
		})
	}
	clients.Wait()
}

func (b *bench) addInTime(moments []int64) {
	size, atOnce := b.peer.batches()
	b.add(moments, size, atOnce)
	if time.Now().UnixMilli() > moments[0] {
		must(fmt.Errorf("the tasks were created after they were due"))
	}
}

func (b *bench) handle(p payload) {
	now := float64(time.Now().UnixNano()) / 1e6
	if p.At > 0 {
		b.mutex.Lock()
		b.late = append(b.late, now-float64(p.At))
		b.mutex.Unlock()
	}
	b.seen.Add(1)
}

func (b *bench) warmUp() {
	b.peer.start(b.handle)
	b.peer.put([]int64{0})
	b.wait(1)
	time.Sleep(500 * time.Millisecond)
	b.seen.Store(0)
}

func (b *bench) wait(wanted int64) {
	before, changed := int64(0), time.Now()
	for {
		seen := b.seen.Load()
		if seen >= wanted {
			return
		}
		if seen > before {
			before, changed = seen, time.Now()
		}
		if time.Since(changed) > stalledAfter {
			must(fmt.Errorf("only %d of %d tasks arrived", seen, wanted))
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (b *bench) fill(moment int64) []int64 {
	return slices.Repeat([]int64{moment}, b.count)
}

// soon returns a whole second before which the tasks can be created: asynq has no finer moments.
func (b *bench) soon() int64 {
	return (time.Now().Unix() + 5 + int64(b.count/5000)) * 1000
}

func (b *bench) since(start time.Time) figures {
	return figures{"per_s": float64(b.count) / time.Since(start).Seconds()}
}

func (b *bench) percentile(fraction float64) float64 {
	return b.late[int(math.Round(float64(len(b.late)-1)*fraction))]
}
