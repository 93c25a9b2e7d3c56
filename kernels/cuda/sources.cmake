# The CUDA twins of kernels/ops.h; included by kernels/CMakeLists.txt.
set(TAMIS_CUDA_OPS
  cuda/combine_partials.cu cuda/concat_vocab.cu cuda/cublas_matmul.cc cuda/decode_attention.cu
  cuda/few_rows_matmul.cu cuda/fill_random.cu
  cuda/filter_attention.cu cuda/gather_attention.cu cuda/gather_rows.cu cuda/matmul.cu
  cuda/merge_top_k.cu cuda/mma_prefill_attention.cu cuda/prefill_attention.cu
  cuda/resolve_tokens.cu cuda/rms_norm.cu
  cuda/rope_and_store_kv.cu cuda/rows_of_positions.cu cuda/sample.cu
  cuda/scalar_prefill_attention.cu cuda/scalar_split_attention.cu cuda/scratch_bytes.cc
  cuda/silu_mul.cu cuda/skinny_matmul.cu cuda/split_attention.cu cuda/tensor_map.cc
  cuda/top_k.cu cuda/wgmma_prefill_attention.cu)
set(TAMIS_CUDA_LIBS CUDA::cudart_static CUDA::cublasLt)
# Warpgroup products exist for sm_90a alone.
if(CMAKE_CUDA_ARCHITECTURES MATCHES "90a")
  set_property(SOURCE cuda/few_rows_matmul.cu cuda/wgmma_prefill_attention.cu APPEND PROPERTY
    COMPILE_DEFINITIONS TAMIS_SM90A)
endif()
