// peers PEER WORK ADDRESS COUNT [RATE] runs one work with asynq or River and prints its figures as
// one line of JSON.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"
)

const (
	concurrency = 64
	farAway     = 240 * time.Hour
)

type payload struct {
	Order int   `json:"order"`
	At    int64 `json:"at"`
}

func (payload) Kind() string { return "bench" }

// peer is a system for tasks.
type peer interface {
	// put creates one task for each moment in milliseconds; 0: due now.
	put(moments []int64)
	// batches returns the maximum number of tasks in a call, and the number of calls at the same time.
	batches() (size, atOnce int)
	// start starts the workers.
	start(handle func(payload))
}

func open(name, address string) peer {
	if name == "river" {
		return openRiver(address)
	}
	return openAsynq(address)
}

func main() {
	count, err := strconv.Atoi(os.Args[4])
	must(err)
	rate := 500
	if len(os.Args) > 5 {
		rate, err = strconv.Atoi(os.Args[5])
		must(err)
	}
	run := &bench{peer: open(os.Args[1], os.Args[3]), count: count, rate: rate}
	figures, err := json.Marshal(run.work(os.Args[2]))
	must(err)
	fmt.Println(string(figures))
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
