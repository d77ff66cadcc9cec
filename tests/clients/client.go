// client URL COUNT [direct]: net/http; with "direct" it ignores the proxy variables, as a program may.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

func main() {
	url := os.Args[1]
	count, _ := strconv.Atoi(os.Args[2])
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true
	if len(os.Args) > 3 {
		transport.Proxy = nil
	}
	client := &http.Client{Timeout: 20 * time.Second, Transport: transport}
	ok, last := 0, ""
	for i := 0; i < count; i++ {
		answer, err := client.Get(url)
		if err != nil {
			last = err.Error()
			continue
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if answer.StatusCode == 200 {
			ok++
		} else {
			last = answer.Status
		}
	}
	line, _ := json.Marshal(map[string]any{"ok": ok, "failed": count - ok, "last": last})
	fmt.Println(string(line))
}
