// SPDX-License-Identifier: Apache-2.0
// gRPC's file watcher only logs what it cannot read, and every handshake fails then; so the files
// are checked here before the server starts.
#include "runtime/server/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_credentials_options.h"
#include "runtime/status_macros.h"

namespace tamis {
namespace {

template <typename T, void (*Free)(T*)>
struct Freed {
  void operator()(T* object) const { Free(object); }
};
using Certificate = std::unique_ptr<X509, Freed<X509, X509_free>>;
using PrivateKey = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY, EVP_PKEY_free>>;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

absl::StatusOr<File> Open(const std::string& path) {
  File file(std::fopen(path.c_str(), "r"));
  if (file == nullptr) return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be read"));
  return file;
}

absl::StatusOr<Certificate> ReadCertificate(const std::string& path) {
  TAMIS_ASSIGN_OR_RETURN(const File file, Open(path));
  Certificate certificate(PEM_read_X509(file.get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  if (certificate == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a certificate in PEM form"));
  }
  return certificate;
}

absl::StatusOr<PrivateKey> ReadKey(const std::string& path) {
  TAMIS_ASSIGN_OR_RETURN(const File file, Open(path));
  // A key with a passphrase would otherwise ask for it on the terminal.
  const auto no_passphrase = [](char*, int, int, void*) { return -1; };
  PrivateKey key(PEM_read_PrivateKey(file.get(), nullptr, no_passphrase, nullptr));
  ERR_clear_error();
  if (key == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": not a private key in PEM form without a passphrase"));
  }
  return key;
}

absl::Status CheckFiles(const TlsFiles& files) {
  TAMIS_ASSIGN_OR_RETURN(const Certificate certificate, ReadCertificate(files.certificate));
  TAMIS_ASSIGN_OR_RETURN(const PrivateKey key, ReadKey(files.key));
  const bool pair = X509_check_private_key(certificate.get(), key.get()) == 1;
  ERR_clear_error();
  if (!pair) {
    return absl::InvalidArgumentError(absl::StrCat(
        files.key, ": the key does not belong to the certificate of ", files.certificate));
  }
  if (files.client_ca.empty()) return absl::OkStatus();
  return ReadCertificate(files.client_ca).status();
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const TlsFiles& files) {
  if (!files.enabled()) return grpc::InsecureServerCredentials();
  TAMIS_RETURN_IF_ERROR(CheckFiles(files));
  namespace tls = grpc::experimental;
  tls::TlsServerCredentialsOptions options(std::make_shared<tls::FileWatcherCertificateProvider>(
      files.key, files.certificate, files.client_ca, files.reload_seconds));
  options.watch_identity_key_cert_pairs();
  if (!files.client_ca.empty()) {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  } else {
    options.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  }
  // The default verifier compares host names, which is a client's question.
  options.set_certificate_verifier(std::make_shared<tls::NoOpCertificateVerifier>());
  options.set_check_call_host(false);
  return tls::TlsServerCredentials(options);
}

}  // namespace tamis
