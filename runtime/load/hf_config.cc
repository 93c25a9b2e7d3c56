// SPDX-License-Identifier: Apache-2.0
#include "runtime/load/hf_config.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "runtime/load/json_depth.h"
#include "runtime/load/quote.h"
#include "runtime/status_macros.h"

namespace tamis {
namespace {

using nlohmann::json;

absl::StatusOr<json> ParseObject(std::string_view text, const std::string& path) {
  if (NestsTooDeep(text)) {
    return absl::DataLossError(
        absl::StrCat(path, ": nests deeper than ", kJsonDepthMax, " levels"));
  }
  json parsed = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) {
    return absl::DataLossError(absl::StrCat(path, ": not a JSON object"));
  }
  return parsed;
}

// Typed access to the fields of one JSON object. A field that is null counts as absent.
class Fields {
 public:
  // `prefix` names the object inside its file: "" or "rope_scaling.".
  Fields(const json& object, const std::string& path, std::string prefix)
      : object_(object), path_(path), prefix_(std::move(prefix)) {}

  const json* Find(const char* field) const {
    const auto found = object_.find(field);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  absl::Status Invalid(const char* field, const std::string& what) const {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": ", Quoted(absl::StrCat(prefix_, field)), " ", what));
  }

  absl::StatusOr<int64_t> Int(const char* field, std::optional<int64_t> absent) const {
    const json* value = Find(field);
    if (value == nullptr) {
      if (absent) return *absent;
      return Invalid(field, "is missing");
    }
    std::optional<int64_t> number = ToInt(*value);
    if (!number) return Invalid(field, "must be an integer");
    return *number;
  }

  absl::StatusOr<double> Number(const char* field, std::optional<double> absent) const {
    const json* value = Find(field);
    if (value == nullptr) {
      if (absent) return *absent;
      return Invalid(field, "is missing");
    }
    if (!value->is_number()) return Invalid(field, "must be a number");
    return value->get<double>();
  }

  absl::StatusOr<bool> Bool(const char* field, bool absent) const {
    const json* value = Find(field);
    if (value == nullptr) return absent;
    if (!value->is_boolean()) return Invalid(field, "must be true or false");
    return value->get<bool>();
  }

  absl::StatusOr<std::string> String(const char* field, const char* absent) const {
    const json* value = Find(field);
    if (value == nullptr) return std::string(absent);
    if (!value->is_string()) return Invalid(field, "must be a string");
    return value->get<std::string>();
  }

  // A token id or a list of them; absent gives none.
  absl::StatusOr<std::vector<int32_t>> TokenIds(const char* field) const {
    std::vector<int32_t> ids;
    const json* value = Find(field);
    if (value == nullptr) return ids;
    const json list = value->is_array() ? *value : json::array({*value});
    for (const json& element : list) {
      const std::optional<int64_t> id = ToInt(element);
      if (!id || *id < 0 || *id > std::numeric_limits<int32_t>::max()) {
        return Invalid(field, "must be a token id or a list of them");
      }
      ids.push_back(static_cast<int32_t>(*id));
    }
    return ids;
  }

 private:
  static std::optional<int64_t> ToInt(const json& value) {
    if (value.is_number_unsigned()) {
      const uint64_t number = value.get<uint64_t>();
      if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
      return static_cast<int64_t>(number);
    }
    if (value.is_number_integer()) return value.get<int64_t>();
    return std::nullopt;
  }

  const json& object_;
  const std::string& path_;
  std::string prefix_;
};

// *mistral tells which of the two known families it is.
absl::Status CheckArchitecture(const Fields& fields, bool* mistral) {
  const json* list = fields.Find("architectures");
  std::string name;
  if (list != nullptr) {
    if (!list->is_array() || list->size() != 1 || !(*list)[0].is_string()) {
      return fields.Invalid("architectures", "must be a list of one name");
    }
    name = (*list)[0].get<std::string>();
    *mistral = name == "MistralForCausalLM";
    if (name == "LlamaForCausalLM" || *mistral) return absl::OkStatus();
    return fields.Invalid("architectures",
                          absl::StrCat("is ", Quoted(name),
                                       ", which is not supported; LlamaForCausalLM and "
                                       "MistralForCausalLM are"));
  }
  TAMIS_ASSIGN_OR_RETURN(name, fields.String("model_type", ""));
  *mistral = name == "mistral";
  if (name == "llama" || *mistral) return absl::OkStatus();
  return fields.Invalid("model_type", absl::StrCat("is ", Quoted(name),
                                                   ", which is not supported; llama and mistral "
                                                   "are"));
}

// Everything that changes the computation and has no place in ModelConfig.
absl::Status CheckUnsupported(const Fields& fields) {
  if (fields.Find("quantization_config") != nullptr) {
    return fields.Invalid("quantization_config",
                          "is not supported; weights must be plain "
                          "float32, float16 or bfloat16");
  }
  TAMIS_ASSIGN_OR_RETURN(const std::string activation, fields.String("hidden_act", "silu"));
  if (activation != "silu" && activation != "swish") {
    return fields.Invalid("hidden_act",
                          absl::StrCat("is ", Quoted(activation), "; only silu is supported"));
  }
  TAMIS_ASSIGN_OR_RETURN(const double partial, fields.Number("partial_rotary_factor", 1.0));
  if (partial != 1.0) return fields.Invalid("partial_rotary_factor", "is not supported");
  return absl::OkStatus();
}

absl::Status ReadScaling(const Fields& fields, RopeConfig* rope) {
  // "type" is the older name. Both may stand side by side.
  const char* field = fields.Find("rope_type") != nullptr ? "rope_type" : "type";
  TAMIS_ASSIGN_OR_RETURN(const std::string type, fields.String(field, "default"));
  TAMIS_ASSIGN_OR_RETURN(rope->theta, fields.Number("rope_theta", rope->theta));
  TAMIS_ASSIGN_OR_RETURN(const double partial, fields.Number("partial_rotary_factor", 1.0));
  if (partial != 1.0) return fields.Invalid("partial_rotary_factor", "is not supported");
  if (type == "default") return absl::OkStatus();
  if (type == "linear") {
    rope->scaling = RopeConfig::Scaling::kLinear;
    TAMIS_ASSIGN_OR_RETURN(rope->factor, fields.Number("factor", std::nullopt));
    return absl::OkStatus();
  }
  if (type == "llama3") {
    rope->scaling = RopeConfig::Scaling::kLlama3;
    TAMIS_ASSIGN_OR_RETURN(rope->factor, fields.Number("factor", std::nullopt));
    TAMIS_ASSIGN_OR_RETURN(rope->low_freq_factor, fields.Number("low_freq_factor", std::nullopt));
    TAMIS_ASSIGN_OR_RETURN(rope->high_freq_factor, fields.Number("high_freq_factor", std::nullopt));
    TAMIS_ASSIGN_OR_RETURN(rope->original_max_positions,
                           fields.Int("original_max_position_embeddings", std::nullopt));
    return absl::OkStatus();
  }
  return fields.Invalid(field, absl::StrCat("is ", Quoted(type),
                                            ", which is not supported; default, linear and llama3 "
                                            "are"));
}

// "rope_theta" and "rope_scaling", or "rope_parameters", which newer files hold instead of both.
absl::Status ReadRope(const Fields& fields, const std::string& path, RopeConfig* rope) {
  TAMIS_ASSIGN_OR_RETURN(rope->theta, fields.Number("rope_theta", rope->theta));
  for (const char* field : {"rope_scaling", "rope_parameters"}) {
    const json* object = fields.Find(field);
    if (object == nullptr) continue;
    if (!object->is_object()) return fields.Invalid(field, "must be an object");
    TAMIS_RETURN_IF_ERROR(ReadScaling(Fields(*object, path, absl::StrCat(field, ".")), rope));
  }
  return absl::OkStatus();
}

absl::Status ReadHeads(const Fields& fields, ModelConfig* config) {
  TAMIS_ASSIGN_OR_RETURN(config->num_q_heads, fields.Int("num_attention_heads", std::nullopt));
  TAMIS_ASSIGN_OR_RETURN(config->num_kv_heads,
                         fields.Int("num_key_value_heads", config->num_q_heads));
  if (config->num_q_heads < 1) return fields.Invalid("num_attention_heads", "must be above 0");
  if (fields.Find("head_dim") == nullptr && config->hidden_size % config->num_q_heads != 0) {
    return fields.Invalid(
        "head_dim",
        absl::StrCat("is missing, and hidden_size ", config->hidden_size,
                     " is not a multiple of num_attention_heads ", config->num_q_heads));
  }
  TAMIS_ASSIGN_OR_RETURN(config->head_dim,
                         fields.Int("head_dim", config->hidden_size / config->num_q_heads));
  return absl::OkStatus();
}

absl::StatusOr<DType> ReadDType(const Fields& fields) {
  const char* field = fields.Find("dtype") != nullptr ? "dtype" : "torch_dtype";
  TAMIS_ASSIGN_OR_RETURN(const std::string name, fields.String(field, "float32"));
  if (name == "float32") return DType::kF32;
  if (name == "float16") return DType::kF16;
  if (name == "bfloat16") return DType::kBF16;
  return fields.Invalid(
      field, absl::StrCat("is ", Quoted(name), "; it must be float32, float16 or bfloat16"));
}

}  // namespace

absl::StatusOr<HfConfig> ParseHfConfig(std::string_view text, const std::string& path) {
  TAMIS_ASSIGN_OR_RETURN(const json object, ParseObject(text, path));
  const Fields fields(object, path, "");
  bool mistral = false;
  TAMIS_RETURN_IF_ERROR(CheckArchitecture(fields, &mistral));
  TAMIS_RETURN_IF_ERROR(CheckUnsupported(fields));
  HfConfig result;
  ModelConfig& config = result.model;
  config.architecture = "llama";
  TAMIS_ASSIGN_OR_RETURN(config.hidden_size, fields.Int("hidden_size", std::nullopt));
  TAMIS_ASSIGN_OR_RETURN(config.num_layers, fields.Int("num_hidden_layers", std::nullopt));
  TAMIS_RETURN_IF_ERROR(ReadHeads(fields, &config));
  TAMIS_ASSIGN_OR_RETURN(config.ffn_size, fields.Int("intermediate_size", std::nullopt));
  TAMIS_ASSIGN_OR_RETURN(config.vocab_size, fields.Int("vocab_size", std::nullopt));
  TAMIS_ASSIGN_OR_RETURN(config.max_positions, fields.Int("max_position_embeddings", std::nullopt));
  TAMIS_ASSIGN_OR_RETURN(const double eps, fields.Number("rms_norm_eps", 1e-6));
  config.norm_eps = static_cast<float>(eps);
  TAMIS_RETURN_IF_ERROR(ReadRope(fields, path, &config.rope));
  TAMIS_ASSIGN_OR_RETURN(config.tied_embeddings, fields.Bool("tie_word_embeddings", false));
  TAMIS_ASSIGN_OR_RETURN(config.attention_bias, fields.Bool("attention_bias", false));
  TAMIS_ASSIGN_OR_RETURN(config.mlp_bias, fields.Bool("mlp_bias", false));
  // A Mistral file that leaves the field out means 4096; one without a window says null.
  const bool implied = mistral && !object.contains("sliding_window");
  TAMIS_ASSIGN_OR_RETURN(config.sliding_window, fields.Int("sliding_window", implied ? 4096 : 0));
  TAMIS_ASSIGN_OR_RETURN(config.eos_token_ids, fields.TokenIds("eos_token_id"));
  TAMIS_ASSIGN_OR_RETURN(const std::vector<int32_t> bos, fields.TokenIds("bos_token_id"));
  if (bos.size() > 1) return fields.Invalid("bos_token_id", "must be one token id");
  if (!bos.empty()) config.bos_token_id = bos[0];
  TAMIS_ASSIGN_OR_RETURN(result.dtype, ReadDType(fields));
  return result;
}

absl::Status AddGenerationConfig(std::string_view text, const std::string& path,
                                 ModelConfig* config) {
  TAMIS_ASSIGN_OR_RETURN(const json object, ParseObject(text, path));
  TAMIS_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                         Fields(object, path, "").TokenIds("eos_token_id"));
  std::vector<int32_t>& known = config->eos_token_ids;
  for (int32_t id : ids) {
    if (std::find(known.begin(), known.end(), id) == known.end()) known.push_back(id);
  }
  return absl::OkStatus();
}

}  // namespace tamis
