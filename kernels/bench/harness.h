// SPDX-License-Identifier: Apache-2.0
// Timing of kernels: calls are captured into a CUDA graph and replayed, as in a step; inputs rotate
// so that none is found in the cache; the median replay counts. Every row of the table has the
// bytes that must move and the share of the read ceiling, which is measured in the same run.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/bench/tables.h"
#include "kernels/device.h"
#include "kernels/scratch.h"

namespace tamis::bench {

class Bench {
 public:
  Bench();

  const Stream& stream() const { return stream_; }
  Scratch& scratch() { return scratch_; }
  // Device memory of random values of about unit variance (floats) or zeros (other types).
  TensorView Random(Shape shape, DType dtype, float deviation = 1.0f);
  TensorView Ints(Shape shape, const std::vector<int32_t>& values);
  // Gives all tensors back.
  void Release() { buffers_.clear(); }

  // Microseconds of one call: call(i) runs for i in [0, calls) in one graph.
  double MedianUs(int calls, const std::function<void(int)>& call);

  void Heading(const std::string& title);
  // One line: name, microseconds, TB/s and percent of the ceiling.
  void Bytes(const std::string& name, double us, double bytes);
  // One line: name, microseconds, TFLOP/s.
  void Flops(const std::string& name, double us, double flops);

  double read_ceiling() const { return read_ceiling_; }  // bytes per second
  const std::vector<KernelRow>& rows() const { return rows_; }

 private:
  Stream stream_;
  Scratch scratch_;
  std::vector<Buffer> buffers_;
  double read_ceiling_ = 0;
  std::string table_;
  std::vector<KernelRow> rows_;
};

void BenchDecodeAttention(Bench& bench);
void BenchPrefillAttention(Bench& bench);
void BenchTunedMatMul(Bench& bench);
void BenchMatMul(Bench& bench);
void BenchSelection(Bench& bench);
void BenchSmallOps(Bench& bench);
void BenchDecodeLayer(Bench& bench);

}  // namespace tamis::bench
