// SPDX-License-Identifier: Apache-2.0
// The input step as one kernel: uint8 frames N x H x W x 3 (BGR) to the image that the model takes.
//
//     value = pixel * factor + shift        per channel, fused multiply-add in float32, rounded once to the target type
//
// A thread takes four pixels: 12 bytes come in as three words. tools/make_kernels.py turns this file into
// edged/gpu/kernels/pixels.ptx; nothing is compiled where edged runs but by the driver, for the GPU that it finds.

typedef unsigned int word;
typedef unsigned short half_bits;

#ifdef __CUDACC_RTC__
__device__ __forceinline__ half_bits to_half(float value) {
    half_bits bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#endif

// How the image lies in memory.
enum Form { FLOAT_PLANES = 0, HALF_PLANES = 1, HALF_PACKED = 2 };

struct Channels {
    float factor[3];
    float shift[3];
};

// Channel c of the image comes from the frame's channel 2 - c where the model wants RGB.
__device__ __forceinline__ void values_of(const unsigned char* bgr, const Channels& channels, int swap, float* value) {
    for (int c = 0; c < 3; ++c) value[c] = fmaf((float)bgr[swap ? 2 - c : c], channels.factor[c], channels.shift[c]);
}

// Four channels side by side, the last one zero.
__device__ __forceinline__ void put_packed(const float* value, void* image, word pixel) {
    word low = to_half(value[0]) | (word)to_half(value[1]) << 16;
    ((uint2*)image)[pixel] = make_uint2(low, to_half(value[2]));
}

// One pixel into three planes.
__device__ __forceinline__ void put_planes(const float* value, void* image, word pixel, word plane, int form) {
    word frame = pixel / plane;
    size_t at = (size_t)frame * 3 * plane + (pixel - frame * plane);
    for (int c = 0; c < 3; ++c) {
        if (form == HALF_PLANES) ((half_bits*)image)[at + (size_t)c * plane] = to_half(value[c]);
        else ((float*)image)[at + (size_t)c * plane] = value[c];
    }
}

// Four pixels of one frame into three planes whose size is a multiple of four.
__device__ __forceinline__ void put_four(const float (*value)[3], void* image, word pixel, word plane, int form) {
    word frame = pixel / plane;
    size_t at = (size_t)frame * 3 * plane + (pixel - frame * plane);
    for (int c = 0; c < 3; ++c, at += plane) {
        if (form == HALF_PLANES) {
            word low = to_half(value[0][c]) | (word)to_half(value[1][c]) << 16;
            word high = to_half(value[2][c]) | (word)to_half(value[3][c]) << 16;
            *(uint2*)((half_bits*)image + at) = make_uint2(low, high);
        } else {
            *(float4*)((float*)image + at) = make_float4(value[0][c], value[1][c], value[2][c], value[3][c]);
        }
    }
}

// pixels: N * H * W, below 2^32 / 3. plane: H * W.
extern "C" __global__ void edged_pixels(const unsigned char* frames, void* image, word pixels, word plane,
                                        Channels channels, int swap, int form) {
    word first = 4 * (blockIdx.x * blockDim.x + threadIdx.x);
    if (first >= pixels) return;
    word count = pixels - first < 4 ? pixels - first : 4;
    unsigned char bytes[12];
    if (count == 4) {
        const word* from = (const word*)(frames + 3 * (size_t)first);
        for (int i = 0; i < 3; ++i) {
            word four = from[i];
            for (int k = 0; k < 4; ++k) bytes[4 * i + k] = (unsigned char)(four >> 8 * k);
        }
    } else {
        for (word i = 0; i < 3 * count; ++i) bytes[i] = frames[3 * (size_t)first + i];
    }
    float value[4][3];
    for (word k = 0; k < count; ++k) values_of(bytes + 3 * k, channels, swap, value[k]);
    if (form != HALF_PACKED && count == 4 && plane % 4 == 0) {
        put_four(value, image, first, plane, form);
        return;
    }
    for (word k = 0; k < count; ++k) {
        if (form == HALF_PACKED) put_packed(value[k], image, first + k);
        else put_planes(value[k], image, first + k, plane, form);
    }
}
