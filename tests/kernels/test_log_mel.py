"""log_mel: each frame is what the float64 transform gives, for every kind of length and on real speech."""

from __future__ import annotations

import threading
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tailrace.kernels import LogMel, _cpu, force_isa, log_mel
from tailrace.kernels.ops.log_mel import filters, reference

LEVELS = ["baseline", "avx2", "avx512", "vnni"]
HERE = LEVELS[: LEVELS.index(_cpu.best_isa()) + 1]
LIMIT = 1e-4  # of a decimal logarithm
SPEECH = Path(__file__).parents[2].parent / "shared" / "data" / "spoken_digits"


def worst(found: np.ndarray, truth: np.ndarray) -> float:
    """The largest difference; NaN if there is one."""
    assert found.shape == truth.shape
    return float(np.abs(found.astype(np.float64) - truth).max())


@settings(deadline=None, max_examples=120)
@given(
    n_fft=st.sampled_from([4, 6, 8, 10, 12, 16, 18, 20, 24, 30, 50, 54, 64, 100, 128, 200, 240, 250, 256]),
    window=st.floats(0.5, 1.0),
    hop=st.integers(1, 90),
    extra=st.integers(0, 600),
    center=st.booleans(),
    pad_mode=st.sampled_from(["reflect", "constant"]),
    mel=st.sampled_from(["slaney", "htk"]),
    norm=st.sampled_from(["slaney", None]),
    level=st.sampled_from(HERE),
    seed=st.integers(0, 2**31),
)
def test_any_length_and_hop_is_within_the_limit(
    n_fft, window, hop, extra, center, pad_mode, mel, norm, level, seed
) -> None:
    rate = 16000
    x = np.random.default_rng(seed).normal(size=n_fft + extra).astype(np.float32)
    options: dict[str, Any] = {
        "sample_rate": rate,
        "window_ms": 1000 * max(round(window * n_fft), 4) / rate,
        "hop_ms": 1000 * hop / rate,
        "n_mels": 1 + n_fft // 32,
        "n_fft": n_fft,
        "center": center,
        "pad_mode": pad_mode,
        "mel": mel,
        "norm": norm,
        # Bands in which noise happens to have next to nothing are rounding, of the same size in any float32.
        "floor": 1e-5,
    }
    with force_isa(level):
        found = log_mel(x, **options)
    assert worst(found, reference.log_mel(x, **options)) <= LIMIT


@pytest.mark.parametrize(("rate", "mels"), [(8000, 40), (16000, 80), (22050, 80), (48000, 128)])
def test_a_second_of_noise_is_within_the_limit(
    rate: int, mels: int, isa: str, rng: np.random.Generator
) -> None:
    x = rng.normal(size=rate).astype(np.float32)
    found = log_mel(x, sample_rate=rate, n_mels=mels)
    assert found.shape == (mels, 1 + rate // round(rate / 100))
    assert worst(found, reference.log_mel(x, sample_rate=rate, n_mels=mels)) <= LIMIT


@pytest.mark.parametrize("hz", [440.0, 1000.0, 3333.3])
def test_beside_a_pure_tone_only_bands_far_below_it_show_the_rounding_of_float32(hz: float, isa: str) -> None:
    tone = np.sin(2 * np.pi * hz * np.arange(16000) / 16000).astype(np.float32)
    found, truth = log_mel(tone, sample_rate=16000), reference.log_mel(tone, sample_rate=16000)
    below = truth.max(axis=0) - truth
    assert worst(found[below < 6], truth[below < 6]) <= LIMIT
    assert worst(found[below < 7], truth[below < 7]) <= 10 * LIMIT


def recordings(every: int) -> list[tuple[Path, np.ndarray]]:
    """Some of the spoken digits, as float32 at 8 kHz."""
    if not SPEECH.is_dir():
        pytest.skip(f"the recordings are not there: {SPEECH}")
    found = []
    for path in sorted(SPEECH.glob("*.wav"))[::every]:
        with wave.open(str(path)) as sound:
            assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (8000, 1, 2)
            samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
        found.append((path, samples.astype(np.float32) / 32768))
    assert found
    return found


def test_recorded_speech_is_within_the_limit(isa: str) -> None:
    for path, x in recordings(every=17):
        error = worst(
            log_mel(x, sample_rate=8000, n_mels=40), reference.log_mel(x, sample_rate=8000, n_mels=40)
        )
        assert error <= LIMIT, path.name


def test_digits_spoken_by_the_same_people_are_told_apart_by_their_bands() -> None:
    bands = LogMel(sample_rate=8000, n_mels=40)
    seen: dict[bool, list[tuple[str, np.ndarray]]] = {True: [], False: []}
    for path, x in recordings(every=1):
        digit, _, index = path.stem.split("_")
        found = bands(x)
        eighths = np.stack([part.mean(axis=1) for part in np.array_split(found, 8, axis=1)])
        seen[int(index) < 5].append((digit, (eighths - eighths.mean(axis=0)).ravel()))
    known = np.stack([vector for _, vector in seen[False]])
    right = sum(
        seen[False][int(np.linalg.norm(known - vector, axis=1).argmin())][0] == digit
        for digit, vector in seen[True]
    )
    assert right > 0.8 * len(seen[True]), f"{right} of {len(seen[True])}"


@pytest.mark.parametrize(("mel", "norm"), [("slaney", "slaney"), ("htk", None), ("htk", "slaney")])
def test_librosa_has_the_same_filters_and_bands(mel: str, norm: str | None, rng: np.random.Generator) -> None:
    librosa = pytest.importorskip("librosa")
    bank = librosa.filters.mel(
        sr=16000, n_fft=512, n_mels=60, fmin=50, fmax=7000, htk=mel == "htk", norm=norm, dtype=np.float64
    )
    np.testing.assert_allclose(
        filters.mel_filters(16000, 512, 60, 50, 7000, mel, norm), bank, rtol=1e-6, atol=1e-12
    )
    x = rng.normal(size=5000).astype(np.float32)
    power = librosa.feature.melspectrogram(
        y=x, sr=16000, n_fft=512, hop_length=160, win_length=400, n_mels=60, fmin=50, fmax=7000,
        htk=mel == "htk", norm=norm, pad_mode="reflect",
    )  # fmt: skip
    ours = log_mel(x, sample_rate=16000, n_fft=512, n_mels=60, f_min=50, f_max=7000, mel=mel, norm=norm)
    assert worst(ours, np.log10(np.maximum(power, 1e-10))) <= LIMIT


def test_the_scales_meet_their_fixed_points() -> None:
    np.testing.assert_allclose(filters.to_mel(np.array([0.0, 1000.0, 6400.0]), "slaney"), [0, 15, 42])
    np.testing.assert_allclose(filters.to_mel(np.array([0.0, 700.0]), "htk"), [0, 2595 * np.log10(2)])
    for scale in ("slaney", "htk"):
        hz = np.array([0.0, 440.0, 1000.0, 3999.0])
        np.testing.assert_allclose(filters.to_hz(filters.to_mel(hz, scale), scale), hz, atol=1e-9)


def test_silence_is_the_floor_and_a_nan_spoils_only_its_frames(isa: str) -> None:
    x = np.zeros(4000, np.float32)
    np.testing.assert_allclose(log_mel(x, sample_rate=16000, floor=1e-6), -6, rtol=2e-7)
    x[2000] = np.nan
    spoilt = np.isnan(log_mel(x, sample_rate=16000)).all(axis=0)
    np.testing.assert_array_equal(spoilt, np.abs(np.arange(26) * 160 - 2000) < 200)
    x[2000] = np.inf
    assert not np.isfinite(log_mel(x, sample_rate=16000)[:, 12]).any()


def test_signals_of_a_batch_are_theirs_one_by_one_and_a_buffer_is_written_to(
    isa: str, rng: np.random.Generator
) -> None:
    x = rng.normal(size=(3, 3333)).astype(np.float32)
    out = np.full((3, 80, 21), np.nan, np.float32)
    assert log_mel(x, sample_rate=16000, out=out) is out
    for signal, bands in zip(x, out, strict=True):
        np.testing.assert_array_equal(log_mel(signal, sample_rate=16000), bands)


def test_a_bound_op_gives_what_the_function_gives_from_any_thread(rng: np.random.Generator) -> None:
    bands = LogMel(sample_rate=8000, n_mels=40)
    signals = [rng.normal(size=4000 + 100 * i).astype(np.float32) for i in range(4)]
    wrong: list[int] = []

    def work(i: int) -> None:
        expected = log_mel(signals[i], sample_rate=8000, n_mels=40)
        if not all(np.array_equal(bands(signals[i]), expected) for _ in range(20)):
            wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert repr(bands) == "<LogMel 8000 Hz, window 200, hop 80, n_fft 200, 40 bands>"


def test_a_bound_op_is_a_native_step(rng: np.random.Generator) -> None:
    import tailrace as tr

    bands = LogMel(sample_rate=8000, n_mels=40)
    listen = tr.native_step(bands.native(1, samples=800))
    x = rng.normal(size=(1, 800)).astype(np.float32)

    @tr.workflow
    def hear(x: Any) -> Any:
        return listen(x=x)

    np.testing.assert_array_equal(hear(x).out, bands(x))


SOUND = np.zeros(1000, np.float32)


@pytest.mark.parametrize(
    ("x", "options", "kind", "message"),
    [
        (SOUND.astype(np.int16), {}, TypeError, r"float32 \[samples\].*; got int16 .*astype\(np.float32\)"),
        (SOUND[None, None], {}, ValueError, r"float32 \[n, samples\].*; got float32 \[1, 1, 1000\]"),
        (SOUND[::2], {}, ValueError, "np.ascontiguousarray"),
        (SOUND[:0], {}, ValueError, "nothing to compute"),
        (SOUND[:200], {}, ValueError, 'at least 201 samples; got 200: pass pad_mode="constant"'),
        (SOUND[:399], {"center": False}, ValueError, "at least 400 samples; got 399: pass center=True"),
        (SOUND, {"sample_rate": 0}, ValueError, "sample_rate must be above 0"),
        (SOUND, {"hop_ms": 0.01}, ValueError, "are 400 and 0 samples; the window must have 4 to"),
        (SOUND, {"n_fft": 256}, ValueError, "even, from 400 .*; got 256: pass n_fft=400"),
        (SOUND, {"n_fft": 441}, ValueError, "got 441: pass n_fft=450"),
        (SOUND, {"n_fft": 406}, ValueError, "no prime factors but 2, 3 and 5; got 406: pass n_fft=432"),
        (SOUND, {"n_mels": 0}, ValueError, "n_mels must be from 1 to 4096; got 0"),
        (SOUND, {"n_mels": 80.0}, TypeError, "n_mels must be a whole number; got 80.0"),
        (SOUND, {"n_fft": 512.0}, TypeError, "n_fft must be a whole number; got 512.0"),
        (SOUND, {"n_fft": "512"}, TypeError, "n_fft must be a whole number; got '512'"),
        (SOUND, {"sample_rate": None}, TypeError, "sample_rate must be a number; got None"),
        (SOUND, {"sample_rate": np.array([8000])}, TypeError, "sample_rate must be a number; got array"),
        (SOUND, {"sample_rate": 1e308}, ValueError, "sample_rate must be above 0, and 1e9 at most"),
        (SOUND, {"f_min": "a"}, TypeError, "f_min must be a number"),
        (SOUND, {"mel": ["slaney"]}, ValueError, r"mel must be one of 'slaney', 'htk'; got \['slaney'\]"),
        (SOUND, {"f_max": 9000.0}, ValueError, "f_max <= 8000.0 Hz, half the sample rate"),
        (SOUND, {"mel": "bark"}, ValueError, "mel must be one of 'slaney', 'htk'; got 'bark'"),
        (SOUND, {"norm": "l1"}, ValueError, "norm must be one of 'slaney', None"),
        (SOUND, {"pad_mode": "edge"}, ValueError, "pad_mode must be one of 'reflect', 'constant'"),
        (SOUND, {"floor": 0.0}, ValueError, "floor must be at least 2e-38"),
        (SOUND, {"out": np.empty((80, 6), np.float32)}, ValueError, r"out must be float32 \[80, 7\]"),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_wanted(x, options, kind, message) -> None:
    with pytest.raises(kind, match=message):
        log_mel(x, **{"sample_rate": 16000, **options})


def test_an_argument_is_checked_alike_whatever_was_asked_before() -> None:
    for n_mels in (20, np.int64(20)):
        assert log_mel(SOUND, sample_rate=np.float32(8000), n_mels=n_mels).shape == (20, 13)
    for _ in range(2):
        with pytest.raises(TypeError, match="n_mels must be a whole number; got 20"):
            log_mel(SOUND, sample_rate=8000, n_mels=20.0)


def test_a_number_of_samples_that_is_none_is_refused() -> None:
    bands = LogMel(sample_rate=16000)
    with pytest.raises(TypeError, match="samples must be a whole number; got 'x'"):
        bands.frames("x")
    for wrong in (-5, 0, 1 << 64):
        with pytest.raises(ValueError, match=f"at least 201 samples; got {wrong}"):
            bands.native(2, samples=wrong)


def test_bands_that_no_bin_falls_into_are_told() -> None:
    with pytest.warns(UserWarning, match=r"of 128 bands lie between two bins of n_fft=200"):
        LogMel(sample_rate=8000, n_mels=128)


def test_the_compiled_module_refuses_a_buffer_of_another_size() -> None:
    bands = LogMel(sample_rate=16000)
    with pytest.raises(ValueError, match="out has another size"):
        bands._run(SOUND[None], np.empty((1, 80, 6), np.float32))
    with pytest.raises(ValueError, match="has not checked"):
        _cpu.LogMel(np.ones(14), np.ones(8), 1, 5, True, True, 1e-10)
