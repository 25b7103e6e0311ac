// SPDX-License-Identifier: Apache-2.0
// A stand-in for NVIDIA's libcuda: enough of the driver interface to run edged's CUDA layer through the real Python
// bindings on a machine without a GPU. Device memory is host memory and everything is done at once. stub_fail() makes
// one call fail; stub_live() counts what was made and not given back.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void *Handle;

static char failing[64];
static int countdown, failure, capturing, live, not_ready;

void stub_fail(const char *name, int nth, int code) {
    snprintf(failing, sizeof failing, "%s", name);
    countdown = nth;
    failure = code;
}

void stub_not_ready(int queries) { not_ready = queries; }

int stub_live(void) { return live; }

static int fails(const char *name) { return strcmp(failing, name) == 0 && --countdown == 0; }

#define CALL(name, parameters, body)      \
    int name parameters {                 \
        if (fails(#name)) return failure; \
        body;                             \
        return 0;                         \
    }
#define REFUSE_UNLESS(condition, code) \
    if (!(condition)) return code

static int make(Handle *handle) {
    live++;
    *handle = malloc(8);
    return 0;
}

static int end(Handle handle) {
    REFUSE_UNLESS(handle, 400);
    live--;
    free(handle);
    return 0;
}

static int allocate(Handle *memory, size_t size) {
    REFUSE_UNLESS(size && size <= (1u << 30), size ? 2 : 1);
    live++;
    return posix_memalign(memory, 4096, size) ? 2 : 0;
}

CALL(cuInit, (unsigned flags), )
CALL(cuDriverGetVersion, (int *version), *version = 13000)
CALL(cuDeviceGet, (int *device, int ordinal), REFUSE_UNLESS(ordinal == 0, 101); *device = 0)
CALL(cuDeviceGetName, (char *name, int length, int device), snprintf(name, length, "stub"))
CALL(cuDeviceGetPCIBusId, (char *name, int length, int device), snprintf(name, length, "0000:01:00.0"))
CALL(cuDeviceTotalMem_v2, (size_t *bytes, int device), *bytes = 1ull << 33)
CALL(cuDeviceGetAttribute, (int *value, int attribute, int device),
     *value = attribute == 75 ? 9 : attribute == 16 ? 132 : attribute == 99 ? 1 : 0)
CALL(cuDevicePrimaryCtxSetFlags_v2, (int device, unsigned flags), )
CALL(cuDevicePrimaryCtxRetain, (Handle * context, int device), *context = (Handle)0x11; live++)
CALL(cuDevicePrimaryCtxRelease_v2, (int device), live--)
CALL(cuCtxSetCurrent, (Handle context), REFUSE_UNLESS(context == (Handle)0x11, 201))
CALL(cuCtxSynchronize, (void), )
CALL(cuCtxGetStreamPriorityRange, (int *least, int *greatest), *least = 0; *greatest = -5)
CALL(cuMemGetInfo_v2, (size_t * available, size_t *total), *available = 1000; *total = 1ull << 33)
CALL(cuMemAlloc_v2, (uint64_t * address, size_t size), return allocate((Handle *)address, size))
CALL(cuMemFree_v2, (uint64_t address), return end((Handle)address))
CALL(cuMemHostAlloc, (Handle * address, size_t size, unsigned flags), return allocate(address, size))
CALL(cuMemFreeHost, (Handle address), return end(address))
CALL(cuMemHostRegister_v2, (Handle address, size_t size, unsigned flags), live++)
CALL(cuMemHostUnregister, (Handle address), live--)
CALL(cuMemHostGetDevicePointer_v2, (uint64_t * device, Handle address, unsigned flags), *device = (uint64_t)address)
CALL(cuStreamCreateWithPriority, (Handle * stream, unsigned flags, int priority), REFUSE_UNLESS(flags == 1, 1);
     return make(stream))
CALL(cuStreamDestroy_v2, (Handle stream), return end(stream))
CALL(cuStreamSynchronize, (Handle stream), REFUSE_UNLESS(stream, 400); REFUSE_UNLESS(!capturing, 900))
CALL(cuStreamQuery, (Handle stream), REFUSE_UNLESS(stream, 400))
CALL(cuStreamWaitEvent, (Handle stream, Handle event, unsigned flags), REFUSE_UNLESS(stream &&event, 400))
CALL(cuEventCreate, (Handle * event, unsigned flags), REFUSE_UNLESS(flags & 1, 1); return make(event))
CALL(cuEventDestroy_v2, (Handle event), return end(event))
CALL(cuEventRecord, (Handle event, Handle stream), REFUSE_UNLESS(stream &&event, 400))
CALL(cuEventQuery, (Handle event), REFUSE_UNLESS(not_ready-- <= 0, 600))
CALL(cuEventSynchronize, (Handle event), )
CALL(cuEventElapsedTime, (float *milliseconds, Handle start, Handle stop), *milliseconds = 1.5f)
CALL(cuEventElapsedTime_v2, (float *milliseconds, Handle start, Handle stop), *milliseconds = 1.5f)
CALL(cuStreamBeginCapture_v2, (Handle stream, int mode), REFUSE_UNLESS(mode == 1, 1); capturing = 1)
CALL(cuStreamEndCapture, (Handle stream, Handle *graph), REFUSE_UNLESS(capturing, 401); capturing = 0;
     return make(graph))
CALL(cuGraphInstantiateWithFlags, (Handle * executable, Handle graph, unsigned long long flags),
     return make(executable))
CALL(cuGraphUpload, (Handle executable, Handle stream), )
CALL(cuGraphLaunch, (Handle executable, Handle stream), REFUSE_UNLESS(stream, 400))
CALL(cuGraphExecDestroy, (Handle executable), return end(executable))
CALL(cuGraphDestroy, (Handle graph), return end(graph))
CALL(cuMemcpyHtoDAsync_v2, (uint64_t target, Handle source, size_t size, Handle stream), REFUSE_UNLESS(stream, 400);
     memcpy((Handle)target, source, size))
CALL(cuMemcpyDtoHAsync_v2, (Handle target, uint64_t source, size_t size, Handle stream), REFUSE_UNLESS(stream, 400);
     memcpy(target, (Handle)source, size))
CALL(cuMemcpyDtoDAsync_v2, (uint64_t target, uint64_t source, size_t size, Handle stream), REFUSE_UNLESS(stream, 400);
     memcpy((Handle)target, (Handle)source, size))

// The call's form up to CUDA 12.9; the one of 13.0 has no failed_at.
CALL(cuMemcpyBatchAsync,
     (uint64_t * targets, uint64_t *sources, size_t *sizes, size_t count, void *attributes, size_t *places,
      size_t attributes_count, size_t *failed_at, Handle stream),
     REFUSE_UNLESS(stream &&attributes_count == 1 && *places == 0 && *(int *)attributes == 1, 1);
     for (size_t i = 0; i < count; i++) memcpy((Handle)targets[i], (Handle)sources[i], sizes[i]))
int stub_batch_of_13(uint64_t *targets, uint64_t *sources, size_t *sizes, size_t count, void *attributes,
                     size_t *places, size_t attributes_count, Handle stream) {
    return cuMemcpyBatchAsync(targets, sources, sizes, count, attributes, places, attributes_count, NULL, stream);
}
CALL(cuLaunchHostFunc, (Handle stream, void (*function)(Handle), Handle data), REFUSE_UNLESS(stream, 400);
     function(data))

// The bindings ask for every function by this one.
int cuGetProcAddress_v2(const char *symbol, Handle *function, int version, uint64_t flags, int *status) {
    static const char *const endings[] = {"_v2", "", "WithFlags"};
    Dl_info self;
    Handle library = dladdr((Handle)stub_live, &self) ? dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD) : NULL;
    char name[128];
    *function = strcmp(symbol, "cuMemcpyBatchAsync") == 0 && version >= 13000 ? (Handle)stub_batch_of_13 : NULL;
    for (int i = 0; library && !*function && i < 3; i++) {
        snprintf(name, sizeof name, "%s%s", symbol, endings[i]);
        *function = dlsym(library, name);
    }
    if (status) *status = *function ? 0 : 1;
    return *function ? 0 : 500;
}

int cuGetProcAddress(const char *symbol, Handle *function, int version, uint64_t flags) {
    return cuGetProcAddress_v2(symbol, function, version, flags, NULL);
}
