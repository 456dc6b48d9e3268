#!/bin/sh
# Makes the certificates of the tests: an authority, a certificate of it for localhost with its key, and another
# authority that signed nothing. They are valid for a hundred years and guard nothing.
set -eu
cd "$(dirname "$0")"
authority() { # name
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj "/CN=agentic test $1" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign -keyout "$1.key" -out "$1.pem"
}
authority ca
authority stranger
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout server.key -out server.csr
printf 'subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n' >server.ext
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -days 36500 -extfile server.ext -out server.pem
rm -f ca.key ca.srl stranger.key server.csr server.ext
