// Package health serves the status of components over HTTP, for probes and for
// people.
//
//	http.Handle("/readyz", health.Handler(producer, consumer))
package health

import (
	"encoding/json"
	"net/http"

	"github.com/duplex-go/duplex"
)

// Handler answers GET and HEAD with 200 when every part is healthy and 503 when
// one is not, with the reasons as JSON either way:
//
//	{"healthy":false,"parts":[{"component":"consumer","name":"boards","code":"joining",…}]}
//
// Which codes are healthy is said at [duplex.StatusCode.Healthy]. Without parts
// it answers 200. It is safe for concurrent use if the parts' Status is, as it is
// for every component of Duplex.
func Handler(parts ...interface{ Status() duplex.Status }) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "health: only GET and HEAD are answered here", http.StatusMethodNotAllowed)
			return
		}
		answer := report{Healthy: true, Parts: []duplex.Status{}}
		for _, p := range parts {
			s := p.Status()
			answer.Healthy = answer.Healthy && s.Code.Healthy()
			answer.Parts = append(answer.Parts, s)
		}
		body, err := json.Marshal(answer)
		if err != nil {
			http.Error(w, "health: "+err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if !answer.Healthy {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write(append(body, '\n')) // the prober went away: nobody to tell
	})
}

type report struct {
	Healthy bool            `json:"healthy"`
	Parts   []duplex.Status `json:"parts"`
}
