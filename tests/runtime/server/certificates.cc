// SPDX-License-Identifier: Apache-2.0
#include "tests/runtime/server/certificates.h"

#include <arpa/inet.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <memory>

namespace tamis {
namespace {

template <auto Free>
struct Freed {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Certificate = std::unique_ptr<X509, Freed<&X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<&EVP_PKEY_free>>;
using Memory = std::unique_ptr<BIO, Freed<&BIO_free_all>>;

std::string TextOf(BIO* memory) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory, &data);
  return std::string(data, static_cast<size_t>(size));
}

Memory From(const std::string& text) {
  return Memory(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

void AddExtension(X509* certificate, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

// Signed by `ca`, or by itself.
Pem Make(const std::string& name, long serial, const Pem* ca) {
  const Key key(EVP_EC_gen("P-256"));
  const Certificate certificate(X509_new());
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -60);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
  X509_set_pubkey(certificate.get(), key.get());
  X509_NAME* subject = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  if (ca == nullptr) {
    X509_set_issuer_name(certificate.get(), subject);
    AddExtension(certificate.get(), NID_basic_constraints, "critical,CA:TRUE");
    X509_sign(certificate.get(), key.get(), EVP_sha256());
  } else {
    const Certificate issuer(
        PEM_read_bio_X509(From(ca->certificate).get(), nullptr, nullptr, nullptr));
    const Key signer(PEM_read_bio_PrivateKey(From(ca->key).get(), nullptr, nullptr, nullptr));
    X509_set_issuer_name(certificate.get(), X509_get_subject_name(issuer.get()));
    AddExtension(certificate.get(), NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
    X509_sign(certificate.get(), signer.get(), EVP_sha256());
  }
  const Memory certificate_text(BIO_new(BIO_s_mem()));
  const Memory key_text(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(certificate_text.get(), certificate.get());
  PEM_write_bio_PrivateKey(key_text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  return {TextOf(certificate_text.get()), TextOf(key_text.get())};
}

}  // namespace

Pem MakeCa(const std::string& name) { return Make(name, 1, nullptr); }

Pem MakeCertificate(const Pem& ca, long serial) { return Make("localhost", serial, &ca); }

long SerialOf(int port, const Pem* client) {
  const std::unique_ptr<SSL_CTX, Freed<&SSL_CTX_free>> context(SSL_CTX_new(TLS_client_method()));
  if (client != nullptr) {
    const Certificate certificate(
        PEM_read_bio_X509(From(client->certificate).get(), nullptr, nullptr, nullptr));
    const Key key(PEM_read_bio_PrivateKey(From(client->key).get(), nullptr, nullptr, nullptr));
    SSL_CTX_use_certificate(context.get(), certificate.get());
    SSL_CTX_use_PrivateKey(context.get(), key.get());
  }
  const unsigned char protocols[] = {2, 'h', '2'};
  SSL_CTX_set_alpn_protos(context.get(), protocols, sizeof(protocols));
  const int connection = socket(AF_INET, SOCK_STREAM, 0);
  const timeval limit{5, 0};
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  // OpenSSL writes without MSG_NOSIGNAL: a server that hangs up must not end the test.
  std::signal(SIGPIPE, SIG_IGN);
  long serial = -1;
  const std::unique_ptr<SSL, Freed<&SSL_free>> ssl(SSL_new(context.get()));
  if (connect(connection, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    SSL_set_fd(ssl.get(), connection);
    if (SSL_connect(ssl.get()) == 1) {
      const Certificate shown(SSL_get1_peer_certificate(ssl.get()));
      serial = ASN1_INTEGER_get(X509_get0_serialNumber(shown.get()));
    }
  }
  close(connection);
  return serial;
}

}  // namespace tamis
