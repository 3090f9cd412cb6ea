"""What a job may ask for, and how a refusal reads."""

import pickle
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clients import phota_requests as requests
from clients.phota_problems import InvalidRequest

PHOTO = "https://example.com/photo.jpg"


def problems(operation: str, params: dict[str, Any], **options: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as caught:
        requests.validate(operation, params, **options)
    return [(problem.param, problem.code) for problem in caught.value.problems]


def test_defaults_are_always_sent() -> None:
    enhance = requests.validate("enhance", {"image": PHOTO})
    assert enhance.body() == {"image": PHOTO, "num_output_images": 1, "output_format": "jpg"}
    edit = requests.validate("edit", {"prompt": "warmer", "images": [PHOTO]}).body()
    assert (edit["base_model"], edit["resolution"], edit["aspect_ratio"]) == ("nb2", "1K", "auto")
    assert "quality" not in edit
    assert "profile_ids" not in edit


def test_every_fault_is_reported_at_once() -> None:
    params = {"image": "ftp://a/b", "num_output_images": 5, "output_format": "gif", "base_model": "nb2", "zoom": 1}
    assert problems("enhance", params) == [
        ("num_output_images", "out_of_range"),
        ("output_format", "invalid_value"),
        ("image", "bad_url"),
        ("base_model", "not_allowed"),
        ("zoom", "unknown_parameter"),
    ]


def test_messages_are_plain() -> None:
    with pytest.raises(InvalidRequest, match=r"^num_output_images: 5 is more than 4$"):
        requests.validate("generate", {"prompt": "a cat", "num_output_images": 5})
    with pytest.raises(InvalidRequest, match=r"promt: is not a parameter of generate; prompt\?"):
        requests.validate("generate", {"prompt": "a cat", "promt": "a dog"})


@pytest.mark.parametrize("extra", [{"images": [PHOTO]}, {"profile_ids": ["abc"]}])
def test_generate_says_how_to_name_a_profile(extra: dict[str, Any]) -> None:
    (param,) = extra
    assert problems("generate", {"prompt": "a cat", **extra}) == [(param, "not_allowed")]
    with pytest.raises(InvalidRequest, match=r"write \[\[profile_id\]\] in the prompt"):
        requests.validate("generate", {"prompt": "a cat", "profile_ids": ["abc"]})


@pytest.mark.parametrize(
    ("model", "resolution", "is_made"),
    [("nb2", "4K", True), ("gpt-image-2", "4K", True), ("flux-2", "4K", False), ("reve", "2K", False)],
)
def test_a_resolution_must_be_one_of_the_models(model: str, resolution: str, is_made: bool) -> None:
    params = {"prompt": "a cat", "base_model": model, "resolution": resolution}
    if is_made:
        assert requests.validate("generate", params).body()["resolution"] == resolution
    else:
        assert problems("generate", params) == [("resolution", "not_allowed")]


def test_quality_is_for_gpt_image_2() -> None:
    params = {"prompt": "a cat", "quality": "high"}
    assert problems("generate", params) == [("quality", "not_allowed")]
    assert requests.validate("generate", {**params, "base_model": "gpt-image-2"}).body()["quality"] == "high"


@pytest.mark.parametrize("count", [0, 11])
def test_an_edit_takes_one_to_ten_images(count: int) -> None:
    assert problems("edit", {"prompt": "x", "images": [PHOTO] * count}) == [("images", "out_of_range")]


@pytest.mark.parametrize("prompt", [None, "", " \n", 3, "a\0b", "\ud800"])
def test_a_prompt_must_be_text(prompt: Any) -> None:
    ((param, _),) = problems("generate", {} if prompt is None else {"prompt": prompt})
    assert param == "prompt"


@pytest.mark.parametrize(
    "image",
    [
        "",
        "photo.jpg",
        "http://example.com/a.jpg",
        "https://user:secret@example.com/a.jpg",
        "https:///a.jpg",
        "https://example.com/a b.jpg",
        "https://example.com/a\n.jpg",
        "https://example.com\\@evil.example/a.jpg",
        "https://example.com:port/a.jpg",
        "data:image/jpeg;base64," + "A" * 9000,
        "s3://photos",
        "s3://photos/a\x00.jpg",
        "S3 bucket",
        "https://example.com/\ud800",
    ],
)
def test_an_image_must_be_somewhere_phota_can_get_it(image: str) -> None:
    assert problems("enhance", {"image": image}) == [("image", "bad_url")]


def test_http_is_for_hosts_the_operator_allowed() -> None:
    for url in ("http://10.1.2.3/a.jpg", "http://minio.internal:9000/a.jpg"):
        assert problems("enhance", {"image": url}) == [("image", "bad_url")]
        requests.validate("enhance", {"image": url}, allowed_hosts=["10.0.0.0/8", "minio.internal"])


def test_no_secret_of_an_image_url_is_echoed() -> None:
    with pytest.raises(InvalidRequest) as caught:
        requests.validate("enhance", {"image": "https://user:hunter2@example.com/a.jpg"})
    assert "hunter2" not in str(caught.value)


def test_images_are_replaced_before_sending() -> None:
    remix = requests.validate("remix", {"input_image": "s3://photos/a.jpg", "reference_image": "s3://photos/b c.jpg"})
    assert requests.images_of(remix) == ["s3://photos/a.jpg", "s3://photos/b c.jpg"]
    sent = requests.with_images(remix, ["aGVsbG8=", "https://s3/b?X-Amz-Signature=1"]).body()
    assert (sent["input_image"], sent["reference_image"]) == ("aGVsbG8=", "https://s3/b?X-Amz-Signature=1")
    with pytest.raises(ValueError, match="1 images given in place of 2"):
        requests.with_images(remix, ["aGVsbG8="])


def test_profiles_of_the_list_and_the_prompt_are_merged() -> None:
    params = {"prompt": "[[a]] hugs [[ b ]]", "images": [PHOTO], "profile_ids": ["a", "c"]}
    edit = requests.validate("edit", params)
    assert requests.profiles_of(edit) == ["a", "c", "b"]
    assert edit.body()["prompt"] == "[[a]] hugs [[ b ]]"
    assert not requests.has_profiles(requests.validate("enhance", {"image": PHOTO}))


def test_a_hostile_prompt_is_read_in_one_go() -> None:
    prompt = "[[" + " " * 60_000  # days of backtracking, once
    assert requests.profiles_of(requests.validate("generate", {"prompt": prompt + "a ]"})) == []
    assert requests.profiles_of(requests.validate("generate", {"prompt": "[[ ann ]] [[ ]] [[bob]]"})) == ["ann", "bob"]


def test_a_batch_line_names_its_operation_by_path() -> None:
    assert requests.operation_of_path("/v1/phota/edit") is requests.Operation.EDIT
    for path in ("/v1/phota/profiles", "/v1/chat/completions", "edit"):
        with pytest.raises(InvalidRequest, match="url: "):
            requests.operation_of_path(path)


def test_an_unknown_operation_is_refused_by_name() -> None:
    assert problems("sharpen", {}) == [("operation", "unknown_operation")]


def test_a_refusal_survives_pickling() -> None:
    with pytest.raises(InvalidRequest) as caught:
        requests.validate("enhance", {})
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.problems) == (str(caught.value), caught.value.problems)


json_values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9))
names = st.sampled_from(sorted(requests.KNOWN_FIELDS | {"x", "async"}))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(requests.Operation), st.dictionaries(names, json_values | st.lists(json_values, max_size=2)))
def test_whatever_comes_in_is_taken_or_refused_in_words(operation: str, params: dict[str, Any]) -> None:
    try:
        requests.validate(operation, params)
        found = []
    except InvalidRequest as refused:
        found = refused.problems
    assert all(problem.message.startswith(problem.param + ": ") for problem in found)
