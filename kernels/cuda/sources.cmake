# The CUDA twins of kernels/ops.h; included by kernels/CMakeLists.txt.
set(TAMIS_CUDA_OPS
  cuda/combine_partials.cu cuda/concat_vocab.cu cuda/cublas_matmul.cu cuda/decode_attention.cu
  cuda/fill_random.cu
  cuda/filter_attention.cu cuda/gather_attention.cu cuda/gather_rows.cu cuda/matmul.cu
  cuda/merge_top_k.cu cuda/prefill_attention.cu cuda/resolve_tokens.cu cuda/rms_norm.cu
  cuda/rope_and_store_kv.cu cuda/rows_of_positions.cu cuda/sample.cu
  cuda/scalar_prefill_attention.cu cuda/scalar_split_attention.cu cuda/scratch_bytes.cc
  cuda/silu_mul.cu cuda/skinny_matmul.cu cuda/split_attention.cu cuda/top_k.cu)
set(TAMIS_CUDA_LIBS CUDA::cudart_static CUDA::cublasLt)
