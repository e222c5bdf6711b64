// Goroutines, channels, select, timers, maps, garbage collection, panics and defer, over GOOS=wasip1.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strings"
	"sync"
	"time"
)

type node struct {
	left, right *node
	payload     [4]int
}

func build(depth int) *node {
	if depth == 0 {
		return &node{}
	}
	return &node{left: build(depth - 1), right: build(depth - 1)}
}

func (n *node) count() int {
	if n == nil {
		return 0
	}
	return 1 + n.left.count() + n.right.count()
}

func safely(f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("recovered: %v", r)
		}
	}()
	f()
	return nil
}

func main() {
	var wg sync.WaitGroup
	results := make(chan int, 4)
	for i := 0; i < 100; i++ {
		wg.Add(1)
		go func(i int) { defer wg.Done(); results <- i * i }(i)
	}
	go func() { wg.Wait(); close(results) }()
	sum := 0
	for r := range results {
		sum += r
	}
	fmt.Println("squares", sum)

	total := 0
	for i := 0; i < 40; i++ {
		total += build(12).count()
	}
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	fmt.Println("nodes", total, "collected", stats.NumGC > 2, "bounded", stats.HeapAlloc < 64<<20)

	select {
	case <-time.After(3 * time.Millisecond):
		fmt.Println("timer")
	case <-make(chan int):
	}
	words := map[string]int{}
	for _, w := range strings.Fields("a b a c b a") {
		words[w]++
	}
	keys := make([]string, 0)
	for k := range words {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	fmt.Println(keys, words)
	var empty []int
	fmt.Println(safely(func() { _ = empty[len(words)] }))
	fmt.Println(safely(func() { var p *node; p.payload[1] = 2 }))
	if len(os.Args) > 1 {
		path := os.Args[1] + "/go.txt"
		fmt.Println(os.WriteFile(path, []byte("from go\n"), 0o644))
		data, err := os.ReadFile(path)
		fmt.Printf("%q %v\n", data, err)
		fmt.Println(os.Remove(path))
		_, err = os.Stat(path)
		fmt.Println(errors.Is(err, os.ErrNotExist))
	}
	os.Exit(7)
}
