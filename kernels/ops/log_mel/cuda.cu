// cuda.cu -- log_mel on the device in one launch: window, real transform, power, mel filters, logarithm
// What:    log_mel: float32 [signals, samples] to [signals, mels, frames]; a block makes 2, 4 or 8 neighbouring frames.
// Why:     cuFFT would need the frames spelt out in memory and leave complex spectra there: three passes, some eight
//          times the bytes, one more wheel, and nothing that a machine without a device could test. Here a frame stays in
//          shared memory from the samples to the logarithm. Two real frames are one complex signal; its transform comes
//          apart by symmetry.
// Source:  Stockham's order as in Govindaraju et al., "High performance discrete Fourier transforms on graphics processors",
//          2008, section 3; two real sequences in one: Cooley, Lewis and Welch, 1970.
// Checked: tests/kernels/cuda
#include "device.cuh"

struct Complex {
  float re, im;
};

__device__ __forceinline__ Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
__device__ __forceinline__ Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
__device__ __forceinline__ Complex operator*(float s, Complex a) { return {s * a.re, s * a.im}; }
__device__ __forceinline__ Complex operator*(Complex a, Complex b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
__device__ __forceinline__ Complex times_minus_i(Complex a) { return {a.im, -a.re}; }

__device__ __forceinline__ void transform(Complex (&v)[2]) {
  const Complex a = v[0];
  v[0] = a + v[1];
  v[1] = a - v[1];
}

__device__ __forceinline__ void transform(Complex (&v)[3]) {
  const Complex sum = v[1] + v[2], turned = 0.86602540378443865f * times_minus_i(v[1] - v[2]);
  const Complex middle = v[0] - 0.5f * sum;
  v[0] = v[0] + sum;
  v[1] = middle + turned;
  v[2] = middle - turned;
}

__device__ __forceinline__ void transform(Complex (&v)[4]) {
  const Complex a = v[0] + v[2], b = v[0] - v[2], c = v[1] + v[3], d = times_minus_i(v[1] - v[3]);
  v[0] = a + c;
  v[1] = b + d;
  v[2] = a - c;
  v[3] = b - d;
}

__device__ __forceinline__ void transform(Complex (&v)[5]) {
  constexpr float kCos1 = 0.30901699437494742f, kCos2 = -0.80901699437494742f;
  constexpr float kSin1 = 0.95105651629515357f, kSin2 = 0.58778525229247313f;
  const Complex a = v[1] + v[4], b = v[2] + v[3];
  const Complex c = times_minus_i(v[1] - v[4]), d = times_minus_i(v[2] - v[3]);
  const Complex e = v[0] + kCos1 * a + kCos2 * b, f = v[0] + kCos2 * a + kCos1 * b;
  const Complex g = kSin1 * c + kSin2 * d, h = kSin2 * c - kSin1 * d;
  v[0] = v[0] + a + b;
  v[1] = e + g;
  v[2] = f + h;
  v[3] = f - h;
  v[4] = e - g;
}

// One pass over `count` signals of n values, each in `from` and then in `to`: transforms of `done` become such of
// `done * kRadix`.
template <int kRadix>
__device__ void pass(const Complex* from, Complex* to, const Complex* turns, int count, int n, int done) {
  const int each = n / kRadix, step = n / (done * kRadix);
  for (int at = static_cast<int>(threadIdx.x); at < count * each; at += static_cast<int>(blockDim.x)) {
    const int signal = at / each, t = at - signal * each, place = t % done;
    Complex v[kRadix];
    v[0] = from[signal * n + t];
#pragma unroll
    for (int i = 1; i < kRadix; ++i) v[i] = from[signal * n + t + i * each] * turns[place * i * step];
    transform(v);
    Complex* first = to + signal * n + (t - place) * kRadix + place;
#pragma unroll
    for (int i = 0; i < kRadix; ++i) first[i * done] = v[i];
  }
}

// Where sample `at` of a signal is found that goes on mirrored at its ends, or -1 for the zeros around it.
__device__ __forceinline__ i64 source_of(i64 at, i64 samples, int reflect) {
  if (at >= 0 && at < samples) return at;
  if (reflect == 0) return -1;
  return at < 0 ? -at : 2 * (samples - 1) - at;
}

extern "C" __global__ void __launch_bounds__(256)
    log_mel(const float* x, const float* window, const Complex* turns, const int* radices, const int* filter_first,
            const int* filter_begin, const float* filter_weights, float* out, i64 samples, int frames, int n, int hop,
            int before, int reflect, int passes, int mels, int pairs, float floor) {
  DYNAMIC_SHARED(Complex, a);
  Complex* b = a + pairs * n;
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const int first = static_cast<int>(blockIdx.x) * 2 * pairs;
  const float* signal = x + static_cast<i64>(blockIdx.y) * samples;

  for (int at = thread; at < pairs * n; at += threads) {
    const int pair = at / n, i = at - pair * n;
    float value[2];
#pragma unroll
    for (int which = 0; which < 2; ++which) {
      const int frame = first + 2 * pair + which;
      const i64 source = source_of(static_cast<i64>(frame) * hop - before + i, samples, reflect);
      value[which] = frame < frames && source >= 0 ? signal[source] * window[i] : 0.0f;
    }
    a[at] = {value[0], value[1]};
  }
  __syncthreads();

  for (int i = 0, done = 1; i < passes; ++i) {
    const int radix = radices[i];
    if (radix == 4)
      pass<4>(a, b, turns, pairs, n, done);
    else if (radix == 5)
      pass<5>(a, b, turns, pairs, n, done);
    else if (radix == 2)
      pass<2>(a, b, turns, pairs, n, done);
    else if (radix == 3)
      pass<3>(a, b, turns, pairs, n, done);
    __syncthreads();
    done *= radix;
    Complex* t = a;
    a = b;
    b = t;
  }

  // Four times the powers of both frames of a pair.
  const int bins = n / 2 + 1;
  float* power = reinterpret_cast<float*>(b);
  for (int at = thread; at < pairs * bins; at += threads) {
    const int pair = at / bins, k = at - pair * bins;
    const Complex z = a[pair * n + k], mirrored = a[pair * n + (k == 0 ? 0 : n - k)];
    const Complex even = {z.re + mirrored.re, z.im - mirrored.im}, odd = {z.im + mirrored.im, mirrored.re - z.re};
    power[2 * pair * bins + k] = even.re * even.re + even.im * even.im;
    power[(2 * pair + 1) * bins + k] = odd.re * odd.re + odd.im * odd.im;
  }
  __syncthreads();

  for (int at = thread; at < mels * 2 * pairs; at += threads) {
    const int mel = at / (2 * pairs), of = at - mel * 2 * pairs, frame = first + of;
    if (frame >= frames) continue;
    const int begin = filter_begin[mel], end = filter_begin[mel + 1];
    const float* its = power + of * bins + filter_first[mel];
    float sum = 0.0f;
    for (int i = begin; i < end; ++i) sum = fmaf(filter_weights[i], its[i - begin], sum);
    const float power_of_frame = 0.25f * sum;  // a comparison leaves a NaN, fmaxf would take the floor for it
    out[(static_cast<i64>(blockIdx.y) * mels + mel) * frames + frame] =
        log10f(power_of_frame < floor ? floor : power_of_frame);
  }
}
