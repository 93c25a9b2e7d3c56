// SPDX-License-Identifier: Apache-2.0
// Certificates and keys over real connections.
#include <filesystem>
#include <fstream>
#include <thread>

#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "runtime/server/api_keys.h"
#include "runtime/server/generate_service.h"
#include "runtime/server/grpc_server.h"
#include "tests/runtime/server/certificates.h"
#include "tests/runtime/server/fake_engine.h"

namespace tamis {
namespace {

ServedModel TinyModel() {
  ServedModel model;
  model.name = "tiny";
  model.config.vocab_size = 258;
  model.max_model_len = 100;
  return model;
}

class SecurityTest : public ::testing::Test {
 protected:
  SecurityTest() : dir_(std::filesystem::temp_directory_path() / "tamis_security_test.XXXXXX") {
    std::string name = dir_.string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    dir_ = name;
  }
  ~SecurityTest() override { std::filesystem::remove_all(dir_); }

  std::string Path(const std::string& name) const { return (dir_ / name).string(); }
  std::string Write(const std::string& name, const std::string& text) const {
    const std::string next = Path(name) + ".next";
    std::ofstream(next) << text;
    std::filesystem::rename(next, Path(name));
    return Path(name);
  }
  TlsFiles Files(const Pem& pem) const {
    return {Write("tls.crt", pem.certificate), Write("tls.key", pem.key), "", 1};
  }

  // What GetServerInfo answers over a channel with these credentials and key.
  static grpc::Status AskInfo(int port, const std::shared_ptr<grpc::ChannelCredentials>& how,
                              const std::string& authorization = "") {
    const auto stub =
        v1::Inference::NewStub(grpc::CreateChannel("127.0.0.1:" + std::to_string(port), how));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
    if (!authorization.empty()) context.AddMetadata("authorization", authorization);
    v1::GetServerInfoResponse response;
    return stub->GetServerInfo(&context, v1::GetServerInfoRequest(), &response);
  }

  std::filesystem::path dir_;
  const Pem ca_ = MakeCa("ca");
  const ByteTokenizer tokenizer_;
  EchoEngine engine_{4};
};

TEST_F(SecurityTest, TlsServesThoseWhoTrustItsCa) {
  GenerateService service(TinyModel(), tokenizer_, engine_.Backend());
  const auto server = GrpcServer::Start(&service, "127.0.0.1", 0, Files(MakeCertificate(ca_, 7)));
  ASSERT_TRUE(server.ok()) << server.status();
  const int port = (*server)->port();
  EXPECT_TRUE(AskInfo(port, grpc::SslCredentials({ca_.certificate, "", ""})).ok());
  const Pem stranger = MakeCa("stranger");
  EXPECT_FALSE(AskInfo(port, grpc::SslCredentials({stranger.certificate, "", ""})).ok());
  EXPECT_FALSE(AskInfo(port, grpc::InsecureChannelCredentials()).ok());
  EXPECT_EQ(SerialOf(port), 7);
}

TEST_F(SecurityTest, ClientsShowCertificatesWhereACaIsGiven) {
  const Pem client_ca = MakeCa("clients");
  TlsFiles files = Files(MakeCertificate(ca_, 7));
  files.client_ca = Write("clients.crt", client_ca.certificate);
  GenerateService service(TinyModel(), tokenizer_, engine_.Backend());
  const auto server = GrpcServer::Start(&service, "127.0.0.1", 0, files);
  ASSERT_TRUE(server.ok()) << server.status();
  const int port = (*server)->port();
  const Pem known = MakeCertificate(client_ca, 1);
  const Pem stranger = MakeCertificate(MakeCa("clients"), 1);
  const auto with = [&](const Pem& pem) {
    return grpc::SslCredentials({ca_.certificate, pem.key, pem.certificate});
  };
  EXPECT_TRUE(AskInfo(port, with(known)).ok());
  EXPECT_FALSE(AskInfo(port, with(stranger)).ok());
  EXPECT_FALSE(AskInfo(port, grpc::SslCredentials({ca_.certificate, "", ""})).ok());
}

TEST_F(SecurityTest, ARenewedCertificateIsUsedWithoutARestart) {
  GenerateService service(TinyModel(), tokenizer_, engine_.Backend());
  const auto server = GrpcServer::Start(&service, "127.0.0.1", 0, Files(MakeCertificate(ca_, 7)));
  ASSERT_TRUE(server.ok()) << server.status();
  const int port = (*server)->port();
  ASSERT_EQ(SerialOf(port), 7);
  // Looks until the server shows that number; -1 = it shows none.
  const auto shows = [&](long wanted) {
    for (int i = 0; i < 100; ++i) {
      if (SerialOf(port) == wanted) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return false;
  };
  Files(MakeCertificate(ca_, 8));
  EXPECT_TRUE(shows(8));
  // A broken renewal refuses new connections until it is mended.
  Write("tls.crt", "not a certificate");
  EXPECT_TRUE(shows(-1));
  Files(MakeCertificate(ca_, 9));
  EXPECT_TRUE(shows(9));
}

TEST_F(SecurityTest, BrokenFilesAreNamed) {
  GenerateService service(TinyModel(), tokenizer_, engine_.Backend());
  const auto problem = [&](const TlsFiles& files) {
    return std::string(GrpcServer::Start(&service, "127.0.0.1", 0, files).status().message());
  };
  const Pem pem = MakeCertificate(ca_, 7);
  const TlsFiles good = Files(pem);
  TlsFiles files = good;
  files.certificate = Path("absent.crt");
  EXPECT_EQ(problem(files), Path("absent.crt") + ": cannot be read");
  files = good;
  files.key = Write("other.key", MakeCertificate(ca_, 8).key);
  EXPECT_EQ(problem(files),
            files.key + ": the key does not belong to the certificate of " + good.certificate);
  files.key = good.certificate;
  EXPECT_EQ(problem(files), files.key + ": not a private key in PEM form without a passphrase");
  files = good;
  files.client_ca = good.key;
  EXPECT_EQ(problem(files), good.key + ": not a certificate in PEM form");
}

TEST_F(SecurityTest, CallsNeedAKey) {
  const auto keys =
      ApiKeys::Open({"from-environment"}, Write("keys", "# ours\nfirst\n\nsecond\r\n"),
                    std::chrono::milliseconds(0));
  ASSERT_TRUE(keys.ok()) << keys.status();
  ServiceBackend backend = engine_.Backend();
  backend.authorize = [&](std::string_view text) { return (*keys)->Allow(text); };
  GenerateService service(TinyModel(), tokenizer_, backend);
  const auto server = GrpcServer::Start(&service, "127.0.0.1", 0);
  ASSERT_TRUE(server.ok()) << server.status();
  const auto code = [&](const std::string& authorization) {
    return AskInfo((*server)->port(), grpc::InsecureChannelCredentials(), authorization)
        .error_code();
  };
  EXPECT_EQ(code("Bearer first"), grpc::StatusCode::OK);
  EXPECT_EQ(code("Bearer second"), grpc::StatusCode::OK);
  EXPECT_EQ(code("Bearer from-environment"), grpc::StatusCode::OK);
  for (const char* wrong : {"", "first", "Bearer", "Bearer ", "Bearer firs", "Bearer # ours",
                            "bearer first", "Bearer first "}) {
    EXPECT_EQ(code(wrong), grpc::StatusCode::UNAUTHENTICATED) << '"' << wrong << '"';
  }
  Write("keys", "third\n");
  EXPECT_EQ(code("Bearer third"), grpc::StatusCode::OK);
  EXPECT_EQ(code("Bearer first"), grpc::StatusCode::UNAUTHENTICATED);
  std::filesystem::remove(Path("keys"));
  EXPECT_EQ(code("Bearer third"), grpc::StatusCode::OK) << "nobody is locked out meanwhile";
}

TEST_F(SecurityTest, EveryMethodAsksForTheKey) {
  ServiceBackend backend = engine_.Backend();
  backend.authorize = [](std::string_view) { return false; };
  GenerateService service(TinyModel(), tokenizer_, backend);
  const auto server = GrpcServer::Start(&service, "127.0.0.1", 0);
  ASSERT_TRUE(server.ok()) << server.status();
  const auto stub = v1::Inference::NewStub(grpc::CreateChannel(
      "127.0.0.1:" + std::to_string((*server)->port()), grpc::InsecureChannelCredentials()));
  const auto refused = [](const grpc::Status& status) {
    return status.error_code() == grpc::StatusCode::UNAUTHENTICATED;
  };
  const auto unary = [&](auto call, auto request, auto response) {
    grpc::ClientContext context;
    return refused(((*stub).*call)(&context, request, &response));
  };
  using Stub = v1::Inference::Stub;
  EXPECT_TRUE(unary(&Stub::Tokenize, v1::TokenizeRequest(), v1::TokenizeResponse()));
  EXPECT_TRUE(unary(&Stub::Detokenize, v1::DetokenizeRequest(), v1::DetokenizeResponse()));
  EXPECT_TRUE(unary(&Stub::GetModelInfo, v1::GetModelInfoRequest(), v1::GetModelInfoResponse()));
  EXPECT_TRUE(unary(&Stub::GetServerInfo, v1::GetServerInfoRequest(), v1::GetServerInfoResponse()));
  EXPECT_TRUE(unary(&Stub::Drain, v1::DrainRequest(), v1::DrainResponse()));
  grpc::ClientContext context;
  v1::GenerateRequest request;
  request.set_text("x");
  v1::GenerateResponse response;
  const auto reader = stub->Generate(&context, request);
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_TRUE(refused(reader->Finish()));
}

TEST(ApiKeysTest, FilesWithoutKeysAreRefused) {
  EXPECT_FALSE(ApiKeys::Open({}, "/nonexistent/keys").ok());
  EXPECT_FALSE(ApiKeys::Open({}, "/dev/null").ok());
  const auto none = ApiKeys::Open({}, "");
  ASSERT_TRUE(none.ok());
  EXPECT_TRUE((*none)->Allow(""));
}

}  // namespace
}  // namespace tamis
