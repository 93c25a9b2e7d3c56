// SPDX-License-Identifier: Apache-2.0
// Wire form: checksum u64, version u8, then the members in order, lists as u32 count + elements.
// Fields are written one by one, so that no padding byte travels and structs may change layout.
#include "runtime/engine/step_plan.h"

#include <bit>
#include <cstring>
#include <type_traits>

#include "kernels/check.h"

namespace tamis {
namespace {

static_assert(std::endian::native == std::endian::little, "plans travel as they lie in memory");

constexpr uint8_t kVersion = 2;
constexpr size_t kChecksumBytes = sizeof(uint64_t);

// FNV-1a: every byte's step is a bijection of the state, so no single changed byte goes unseen.
uint64_t Checksum(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : bytes) {
    hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  }
  return hash;
}

class Writer {
 public:
  explicit Writer(std::string* bytes) : bytes_(bytes) {}

  template <typename T>
  void operator()(const T& value) {
    static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
    char raw[sizeof(T)];
    std::memcpy(raw, &value, sizeof(T));
    bytes_->append(raw, sizeof(T));
  }
  void operator()(const std::vector<int32_t>& list) {
    Count(list.size());
    if (!list.empty()) {
      const size_t begin = bytes_->size();
      bytes_->resize(begin + list.size() * sizeof(int32_t));
      std::memcpy(bytes_->data() + begin, list.data(), list.size() * sizeof(int32_t));
    }
  }
  void Count(size_t count) {
    CHECK_LE(count, size_t{UINT32_MAX});
    (*this)(static_cast<uint32_t>(count));
  }

 private:
  std::string* bytes_;
};

// Fails once and stays failed; values read after that are zero.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  template <typename T>
  void operator()(T& value) {
    static_assert(std::is_arithmetic_v<T>);
    value = T{};
    if constexpr (std::is_same_v<T, bool>) {
      uint8_t byte = 0;
      (*this)(byte);
      ok_ = ok_ && byte <= 1;
      value = byte == 1;
    } else {
      if (!Has(sizeof(T))) return;
      std::memcpy(&value, bytes_.data(), sizeof(T));
      bytes_.remove_prefix(sizeof(T));
    }
  }
  void operator()(std::vector<int32_t>& list) {
    list.resize(Count(sizeof(int32_t)));
    if (list.empty()) return;
    std::memcpy(list.data(), bytes_.data(), list.size() * sizeof(int32_t));
    bytes_.remove_prefix(list.size() * sizeof(int32_t));
  }
  // A list's length, believed only if that many elements can follow.
  size_t Count(size_t element_bytes) {
    uint32_t count = 0;
    (*this)(count);
    return Has(count * element_bytes) ? count : 0;
  }
  bool Has(size_t size) {
    ok_ = ok_ && bytes_.size() >= size;
    return ok_;
  }
  bool Done() const { return ok_ && bytes_.empty(); }

 private:
  std::string_view bytes_;
  bool ok_ = true;
};

// The members of each record, once for both directions.
template <typename Codec, typename Record>
void Pass(Codec& codec,
          Record& record) requires std::is_same_v<std::remove_const_t<Record>, PlanSequence> {
  codec(record.slot);
  codec(record.position);
  codec(record.num_tokens);
  codec(record.is_decode);
  codec(record.is_replay);
  codec(record.samples);
  codec(record.temperature);
  codec(record.top_k);
  codec(record.top_p);
  codec(record.min_p);
  codec(record.seed);
  codec(record.num_logprobs);
  codec(record.selection.candidate_begin);
  codec(record.selection.candidate_end);
  codec(record.selection.k);
  codec(record.selection.sink_end);
  codec(record.selection.tail_begin);
}
constexpr size_t kSequenceBytes = 12 * 4 + 3 * 1 + 8;

template <typename Codec, typename Record>
void Pass(Codec& codec,
          Record& record) requires std::is_same_v<std::remove_const_t<Record>, BlockGrant> {
  codec(record.slot);
  codec(record.count);
}
constexpr size_t kGrantBytes = 8;

template <typename Codec, typename Record>
void Pass(Codec& codec,
          Record& record) requires std::is_same_v<std::remove_const_t<Record>, SlotToken> {
  codec(record.slot);
  codec(record.token_id);
}
constexpr size_t kSlotTokenBytes = 8;

template <typename Record>
void PutList(Writer& put, const std::vector<Record>& list) {
  put.Count(list.size());
  for (const Record& record : list) Pass(put, record);
}

template <typename Record>
void GetList(Reader& get, size_t record_bytes, std::vector<Record>* list) {
  list->resize(get.Count(record_bytes));
  for (Record& record : *list) Pass(get, record);
}

}  // namespace

void StepPlan::Clear() {
  step_id = 0;
  kind = PlanKind::kIdle;
  confirmed_step = -1;
  confirmed.clear();
  freed_slots.clear();
  grants.clear();
  block_ids.clear();
  sequences.clear();
  token_ids.clear();
}

std::string DescribePlan(const StepPlan& plan) {
  const std::string name = "step " + std::to_string(plan.step_id);
  if (plan.kind == PlanKind::kIdle) return name + ": idle";
  if (plan.kind == PlanKind::kShutdown) return name + ": shutdown";
  int64_t num_decodes = 0;
  int64_t num_prefill_tokens = 0;
  for (const PlanSequence& part : plan.sequences) {
    num_decodes += part.is_decode ? 1 : 0;
    num_prefill_tokens += part.is_decode ? 0 : part.num_tokens;
  }
  const int64_t num_prefills = static_cast<int64_t>(plan.sequences.size()) - num_decodes;
  return name + ": " + std::to_string(num_decodes) + " decode, " + std::to_string(num_prefills) +
         " prefill " + std::to_string(num_prefill_tokens) + " tokens";
}

void EncodeStepPlan(const StepPlan& plan, std::string* bytes) {
  bytes->assign(kChecksumBytes, '\0');
  Writer put(bytes);
  put(kVersion);
  put(plan.step_id);
  put(static_cast<uint8_t>(plan.kind));
  put(plan.confirmed_step);
  PutList(put, plan.confirmed);
  put(plan.freed_slots);
  PutList(put, plan.grants);
  put(plan.block_ids);
  PutList(put, plan.sequences);
  put(plan.token_ids);
  const uint64_t checksum = Checksum(std::string_view(*bytes).substr(kChecksumBytes));
  std::memcpy(bytes->data(), &checksum, kChecksumBytes);
}

bool DecodeStepPlan(std::string_view bytes, StepPlan* plan) {
  if (bytes.size() < kChecksumBytes) return false;
  uint64_t checksum = 0;
  std::memcpy(&checksum, bytes.data(), kChecksumBytes);
  bytes.remove_prefix(kChecksumBytes);
  if (Checksum(bytes) != checksum) return false;

  Reader get(bytes);
  uint8_t version = 0;
  get(version);
  if (version != kVersion) return false;
  uint8_t kind = 0;
  get(plan->step_id);
  get(kind);
  if (kind > static_cast<uint8_t>(PlanKind::kShutdown)) return false;
  plan->kind = static_cast<PlanKind>(kind);
  get(plan->confirmed_step);
  GetList(get, kSlotTokenBytes, &plan->confirmed);
  get(plan->freed_slots);
  GetList(get, kGrantBytes, &plan->grants);
  get(plan->block_ids);
  GetList(get, kSequenceBytes, &plan->sequences);
  get(plan->token_ids);
  return get.Done();
}

}  // namespace tamis
