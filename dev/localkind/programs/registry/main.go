// A registry of images and charts without TLS: what tests push a release to. Arguments: a folder for the contents, and
// each HOST:PORT to listen on.
package main

import (
	"log"
	"net/http"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	handler := registry.New(registry.WithBlobHandler(registry.NewDiskBlobHandler(os.Args[1])))
	ended := make(chan error)
	for _, address := range os.Args[2:] {
		server := &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
		go func() { ended <- server.ListenAndServe() }()
	}
	log.Fatal(<-ended)
}
