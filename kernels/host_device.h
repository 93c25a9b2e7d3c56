// SPDX-License-Identifier: Apache-2.0
// Marks functions that are compiled for both sides where there are two.
#pragma once

#ifdef __CUDACC__
#define TAMIS_HOST_DEVICE __host__ __device__
#else
#define TAMIS_HOST_DEVICE
#endif
