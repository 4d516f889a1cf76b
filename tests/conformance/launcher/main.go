// The first process of the container that Complement starts: makes a homeserver's certificate and site file, then
// becomes luxchat-appliance.
//
// Complement's contract: the server's name is in SERVER_NAME, a certificate authority in /complement/ca, registrations of
// application services in /complement/appservice; clients are served on port 8008 without TLS, other servers on port 8448.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	appliance   = "/luxchat-appliance"
	authority   = "/complement/ca/ca.crt"
	authKey     = "/complement/ca/ca.key"
	certificate = "/conformance/federation.crt"
	key         = "/conformance/federation.key"
	secret      = "/conformance/registration.secret"
	template    = "/conformance/site.toml"
	site        = "/conformance/site.generated.toml"
	services    = "/complement/appservice/*.yaml"
	folder      = "/data"

	// The first descriptor that systemd would hand over.
	handedOver = 3
)

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatalf("launcher: %v", err)
	}
}

func run() error {
	name := os.Getenv("SERVER_NAME")
	if name == "" {
		return errors.New("SERVER_NAME is not set")
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	if err := makeCertificate(name); err != nil {
		return fmt.Errorf("the certificate of %s: %w", name, err)
	}
	if err := os.WriteFile(secret, []byte("complement\n"), 0o600); err != nil {
		return err
	}
	if err := writeSite(name); err != nil {
		return err
	}
	if err := listenForClients(); err != nil {
		return fmt.Errorf("port 8008: %w", err)
	}
	environment := append(os.Environ(),
		"LISTEN_FDS=1", "LISTEN_FDNAMES=client", "LISTEN_PID="+strconv.Itoa(os.Getpid()))
	return syscall.Exec(appliance, []string{appliance, "serve", "--config", site}, environment)
}

// A fresh certificate at every start: a container may be started again with another authority.
func makeCertificate(name string) error {
	issuer, err := readPEM(authority)
	if err != nil {
		return err
	}
	parent, err := x509.ParseCertificate(issuer)
	if err != nil {
		return err
	}
	der, err := readPEM(authKey)
	if err != nil {
		return err
	}
	issuerKey, err := x509.ParsePKCS1PrivateKey(der)
	if err != nil {
		return err
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	now := time.Now()
	leaf := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(0, 1, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	signed, err := x509.CreateCertificate(rand.Reader, leaf, parent, leafKey.Public(), issuerKey)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		return err
	}
	if err := writePEM(certificate, "CERTIFICATE", signed); err != nil {
		return err
	}
	return writePEM(key, "PRIVATE KEY", private)
}

func readPEM(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: not PEM", path)
	}
	return block.Bytes, nil
}

func writePEM(path, kind string, der []byte) error {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	return os.WriteFile(path, text, 0o600)
}

func writeSite(name string) error {
	template, err := os.ReadFile(template)
	if err != nil {
		return err
	}
	text := strings.ReplaceAll(string(template), "SERVER_NAME", name)
	registrations, err := filepath.Glob(services)
	if err != nil {
		return err
	}
	if len(registrations) > 0 {
		quoted := make([]string, len(registrations))
		for index, path := range registrations {
			quoted[index] = strconv.Quote(path)
		}
		text += "\n[application_services]\nregistrations = [" + strings.Join(quoted, ", ") + "]\n"
	}
	return os.WriteFile(site, []byte(text), 0o600)
}

// A box serves clients without TLS on loopback only, or on a socket it is handed, as systemd would: behind it then
// stands whoever opened the socket. Here that is the launcher.
func listenForClients() error {
	listener, err := net.Listen("tcp", ":8008")
	if err != nil {
		return err
	}
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	// Dup2 also clears close-on-exec, unless both are the same descriptor.
	if int(file.Fd()) != handedOver {
		return syscall.Dup2(int(file.Fd()), handedOver)
	}
	_, _, errno := syscall.Syscall(syscall.SYS_FCNTL, handedOver, syscall.F_SETFD, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
