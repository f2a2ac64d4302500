"""From names to upstream repositories, layout by layout and rule by rule."""

import pytest

from proxy.config.addresses import parse_upstream
from proxy.config.loader import parse_settings
from proxy.core.rules import Address, Resolution, RuleBook, RuleSet
from proxy.core.tag_defaults import TagDefaults
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.reference import RepositoryName
from proxy.model.rule import ROOT, UPLOADED, CacheRule
from proxy.model.tag_policy import ALL_TAGS_MOVE, TagMutability, TagPolicy


def rule(prefix: str, upstream: str, upstream_prefix: str = "", *, ns: bool = False) -> CacheRule:
    return CacheRule(prefix, parse_upstream(upstream), upstream_prefix=upstream_prefix, ns=ns)


HUB = rule("docker-hub", "registry-1.docker.io")
QUAY = rule("quay", "quay.io")
GITLAB = rule("gitlab", "registry.gitlab.com")
NESTED = rule("quay/mirror", "mirror.example:8443")
PLAIN = rule("plain", "http://localhost:5000")
CHAIN = rule("cg", "cgr.dev", "example.com")
RULES = (HUB, QUAY, GITLAB, NESTED, PLAIN, CHAIN)
RULESET = RuleSet(RULES)
HUB_ROOT = RuleSet([rule(ROOT, "registry-1.docker.io"), QUAY], hosted=["team/**", "one/*/app", "single"])


def resolve(name: str, ns: str | None = None, mirror: str | None = None, rules: RuleSet = RULESET) -> Resolution:
    return rules.resolve(Address(RepositoryName(name), ns, mirror))


def where(name: str, ns: str | None = None, mirror: str | None = None, rules: RuleSet = RULESET) -> tuple[str, str]:
    """Return the local repository and ``<upstream>/<repository>``, or "hosted"."""
    found = resolve(name, ns, mirror, rules)
    return found.repository, found.remote.provenance.source if found.remote is not None else "hosted"


def refused(name: str, ns: str | None = None, mirror: str | None = None, rules: RuleSet = RULESET) -> ProxyError:
    with pytest.raises(ProxyError) as raised:
        resolve(name, ns, mirror, rules)
    return raised.value


@pytest.mark.parametrize(
    ("name", "repository", "upstream"),
    [
        ("docker-hub/library/nginx", "docker-hub/library/nginx", "registry-1.docker.io/library/nginx"),
        ("docker-hub/nginx", "docker-hub/library/nginx", "registry-1.docker.io/library/nginx"),
        ("docker-hub/grafana/grafana", "docker-hub/grafana/grafana", "registry-1.docker.io/grafana/grafana"),
        ("docker-hub/a/b/c", "docker-hub/a/b/c", "registry-1.docker.io/a/b/c"),
        ("quay/app", "quay/app", "quay.io/app"),  # library/ is Docker Hub's alone
        ("quay/mirror/app", "quay/mirror/app", "mirror.example:8443/app"),  # the longest prefix
        ("quay/mirrors/app", "quay/mirrors/app", "quay.io/mirrors/app"),  # whole segments
        ("quay/mirror", "quay/mirror", "quay.io/mirror"),  # nothing behind the longer prefix
        ("docker-hubx/nginx", "docker-hubx/nginx", "hosted"),
        ("docker/hub/nginx", "docker/hub/nginx", "hosted"),
        ("plain/app", "plain/app", "http://localhost:5000/app"),
        ("cg/nginx", "cg/nginx", "cgr.dev/example.com/nginx"),
        ("team/app", "team/app", "hosted"),
        ("nginx", "nginx", "hosted"),
        ("x/docker-hub/nginx", "x/docker-hub/nginx", "hosted"),
    ],
)
def test_prefix_layout(name: str, repository: str, upstream: str) -> None:
    assert where(name) == (repository, upstream)


@pytest.mark.parametrize(
    ("name", "ns", "repository", "upstream"),
    [
        ("library/nginx", "docker.io", "docker-hub/library/nginx", "registry-1.docker.io/library/nginx"),
        ("nginx", "docker.io", "docker-hub/library/nginx", "registry-1.docker.io/library/nginx"),
        # The prefix wins where the URL names it.
        ("docker-hub/library/nginx", "docker.io", "docker-hub/library/nginx", "registry-1.docker.io/library/nginx"),
        # A name that begins like another rule's prefix still belongs to the host that the client means.
        (
            "gitlab/gitlab-runner",
            "docker.io",
            "docker-hub/gitlab/gitlab-runner",
            "registry-1.docker.io/gitlab/gitlab-runner",
        ),
        ("docker-hub", "docker.io", "docker-hub/library/docker-hub", "registry-1.docker.io/library/docker-hub"),
        ("quay/mirror/app", "quay.io", "quay/mirror/app", "quay.io/mirror/app"),
        ("app", "quay.io", "quay/app", "quay.io/app"),
        ("app", "QUAY.io", "quay/app", "quay.io/app"),
        ("app", "quay.io.", "quay/app", "quay.io/app"),
        ("app", "quay.io:443", "quay/app", "quay.io/app"),
        ("app", "mirror.example:8443", "quay/mirror/app", "mirror.example:8443/app"),
        ("app", "localhost:5000", "plain/app", "http://localhost:5000/app"),
        # The client means cgr.dev/example.com/nginx, and that is what it gets.
        ("example.com/nginx", "cgr.dev", "cg/nginx", "cgr.dev/example.com/nginx"),
        ("cg/nginx", "cgr.dev", "cg/nginx", "cgr.dev/example.com/nginx"),
    ],
)
def test_namespace_layout(name: str, ns: str, repository: str, upstream: str) -> None:
    assert where(name, ns) == (repository, upstream)
    assert resolve(name, ns).namespace == ns


@pytest.mark.parametrize("ns", ["docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"])
def test_every_alias_of_docker_hub_is_docker_hub(ns: str) -> None:
    assert where("nginx", ns) == ("docker-hub/library/nginx", "registry-1.docker.io/library/nginx")
    assert where("nginx", f"{ns}:443") == ("docker-hub/library/nginx", "registry-1.docker.io/library/nginx")


@pytest.mark.parametrize(
    "ns",
    [
        "ghcr.io",
        "quay.io:8443",
        "mirror.example",
        "localhost",
        "localhost:443",
        "docker.io:80",
        "quay.io.evil.example",
        "169.254.169.254",
        "",
        "quay.io/",
        "user@quay.io",
        "\u212auay.io",
        "quay.io:",
    ],
)
def test_unknown_namespace_is_unknown_and_opens_no_host(ns: str) -> None:
    error = refused("library/nginx", ns)
    assert error.code is ErrorCode.NAME_UNKNOWN
    assert refused("quay/mirror/app", ns).code is ErrorCode.NAME_UNKNOWN


def test_namespace_of_a_rule_with_an_upstream_prefix_reaches_only_what_is_below_it() -> None:
    assert refused("nginx", "cgr.dev").code is ErrorCode.NAME_UNKNOWN
    assert refused("example.com", "cgr.dev").code is ErrorCode.NAME_UNKNOWN
    assert refused("example.comx/nginx", "cgr.dev").code is ErrorCode.NAME_UNKNOWN


@pytest.mark.parametrize(
    ("name", "mirror", "repository", "upstream"),
    [
        ("library/nginx", "docker-hub", "docker-hub/library/nginx", "registry-1.docker.io/library/nginx"),
        ("nginx", "docker-hub", "docker-hub/library/nginx", "registry-1.docker.io/library/nginx"),
        ("quay/app", "docker-hub", "docker-hub/quay/app", "registry-1.docker.io/quay/app"),  # no other prefix
        ("docker-hub/x", "docker-hub", "docker-hub/docker-hub/x", "registry-1.docker.io/docker-hub/x"),
        ("mirror/app", "quay", "quay/mirror/app", "quay.io/mirror/app"),
        ("nginx", "cg", "cg/nginx", "cgr.dev/example.com/nginx"),
    ],
)
def test_mirror_layout(name: str, mirror: str, repository: str, upstream: str) -> None:
    assert where(name, mirror=mirror) == (repository, upstream)
    assert resolve(name, mirror=mirror).namespace is None


def test_mirror_accepts_the_namespace_of_its_own_rule_only() -> None:
    assert where("library/nginx", "docker.io", "docker-hub")[1] == "registry-1.docker.io/library/nginx"
    assert resolve("library/nginx", "docker.io", "docker-hub").namespace == "docker.io"
    assert refused("app", "quay.io", "docker-hub").code is ErrorCode.NAME_UNKNOWN
    assert refused("app", "", "docker-hub").code is ErrorCode.NAME_UNKNOWN


def test_mirror_of_no_rule_knows_no_name() -> None:
    assert refused("app", mirror="nobody").code is ErrorCode.NAME_UNKNOWN


@pytest.mark.parametrize(
    ("name", "ns", "repository", "upstream"),
    [
        ("nginx", None, "library/nginx", "registry-1.docker.io/library/nginx"),
        ("library/nginx", None, "library/nginx", "registry-1.docker.io/library/nginx"),
        ("grafana/grafana", None, "grafana/grafana", "registry-1.docker.io/grafana/grafana"),
        ("grafana/grafana", "docker.io", "grafana/grafana", "registry-1.docker.io/grafana/grafana"),
        ("quay/app", None, "quay/app", "quay.io/app"),
        ("quay", None, "library/quay", "registry-1.docker.io/library/quay"),
        ("team/app", None, "team/app", "hosted"),
        ("team/a/b/c", None, "team/a/b/c", "hosted"),
        ("team/app", "docker.io", "team/app", "hosted"),
        ("team", None, "library/team", "registry-1.docker.io/library/team"),
        ("teams/app", None, "teams/app", "registry-1.docker.io/teams/app"),
        ("one/x/app", None, "one/x/app", "hosted"),
        ("one/x/y/app", None, "one/x/y/app", "registry-1.docker.io/one/x/y/app"),
        ("one/x", None, "one/x", "registry-1.docker.io/one/x"),
        ("single", None, "single", "hosted"),
    ],
)
def test_root_rule_takes_every_name_but_the_hosted_ones(
    name: str, ns: str | None, repository: str, upstream: str
) -> None:
    assert where(name, ns, rules=HUB_ROOT) == (repository, upstream)


def test_mirror_of_the_root_rule_keeps_hosted_names_at_home() -> None:
    assert where("team/app", mirror=ROOT, rules=HUB_ROOT) == ("team/app", "hosted")
    assert where("nginx", mirror=ROOT, rules=HUB_ROOT)[1] == "registry-1.docker.io/library/nginx"


def test_hosted_pattern_keeps_names_under_a_prefix_at_home_too() -> None:
    rules = RuleSet([HUB], hosted=["docker-hub/library/**"])
    assert where("docker-hub/library/mine", rules=rules) == ("docker-hub/library/mine", "hosted")
    assert where("docker-hub/mine", rules=rules) == ("docker-hub/library/mine", "hosted")
    assert where("mine", "docker.io", rules=rules) == ("docker-hub/library/mine", "hosted")
    assert where("docker-hub/other/mine", rules=rules)[1] == "registry-1.docker.io/other/mine"


def test_bare_prefix_is_a_repository_of_its_own() -> None:
    # It may have been there before the rule, which is about names below its prefix only.
    found = resolve("docker-hub")
    assert (found.repository, found.remote) == ("docker-hub", None)
    assert "itself is hosted here" in found.reason


def test_library_is_not_added_with_the_character_of_ecr() -> None:
    rules = RuleSet(RULES, add_library=False)
    assert where("docker-hub/nginx", rules=rules) == ("docker-hub/nginx", "registry-1.docker.io/nginx")


@pytest.mark.parametrize(
    ("upstream_prefix", "upstream"),
    [("library", "registry-1.docker.io/library/nginx"), ("mycorp", "registry-1.docker.io/mycorp/nginx")],
)
def test_library_is_not_added_behind_an_upstream_prefix(upstream_prefix: str, upstream: str) -> None:
    rules = RuleSet([rule("hub", "registry-1.docker.io", upstream_prefix)])
    assert where("hub/nginx", rules=rules) == ("hub/nginx", upstream)


def test_names_that_mapping_makes_too_long_are_invalid() -> None:
    name = "a" * 250
    assert where(f"quay/{name}")[1] == f"quay.io/{name}"
    assert refused(name, "quay.io", rules=RuleSet([rule("long-prefix", "quay.io")])).code is ErrorCode.NAME_INVALID
    assert refused(f"cg/{name}").code is ErrorCode.NAME_INVALID


def test_two_rules_of_one_prefix_are_refused() -> None:
    with pytest.raises(ValueError, match="two rules have the prefix quay"):
        RuleSet([QUAY, rule("quay", "ghcr.io")])


@pytest.mark.parametrize(
    ("rules", "chosen"),
    [
        ([rule("a", "quay.io"), rule("b", "quay.io", ns=True)], "b"),
        ([rule("a", "quay.io", "x"), rule("b", "quay.io")], "b"),
        ([rule("a", "quay.io", "x"), rule("b", "quay.io", "y"), rule("c", "quay.io")], "c"),
        ([rule("a", "quay.io"), rule("b", "quay.io:8443")], "a"),
    ],
)
def test_of_several_rules_for_a_host_one_is_meant_by_ns(rules: list[CacheRule], chosen: str) -> None:
    found = resolve("app", "quay.io", rules=RuleSet(rules)).remote
    assert found is not None
    assert found.rule.prefix == chosen


@pytest.mark.parametrize(
    "rules",
    [
        [rule("a", "quay.io"), rule("b", "quay.io")],
        [rule("a", "quay.io", "x"), rule("b", "quay.io", "y")],
        [rule("a", "quay.io", ns=True), rule("b", "quay.io", ns=True)],
        [rule("a", "docker.io"), rule("b", "registry-1.docker.io")],
        [rule("a", "http://quay.io"), rule("b", "https://quay.io")],
    ],
)
def test_rules_between_which_ns_cannot_choose_are_refused(rules: list[CacheRule]) -> None:
    with pytest.raises(ValueError, match="write `ns: true` in exactly one of them"):
        RuleSet(rules)


def test_explicit_prefix_chooses_among_rules_of_one_host() -> None:
    rules = RuleSet([rule("a", "quay.io"), rule("b", "quay.io", ns=True)])
    found = resolve("a/app", "quay.io", rules=rules).remote
    assert found is not None
    assert (found.rule.prefix, found.repository) == ("a", "app")


@pytest.mark.parametrize(
    ("name", "ns", "words"),
    [
        (
            "docker-hub/nginx",
            None,
            ["begins with docker-hub/", "registry-1.docker.io/library/nginx", "library/ was added"],
        ),
        ("gitlab/gitlab-runner", "docker.io", ["ns=docker.io", "docker-hub", "the whole name"]),
        ("team/app", None, ["outside the prefix of every rule", "hosted here"]),
    ],
)
def test_reason_tells_how_a_name_was_mapped(name: str, ns: str | None, words: list[str]) -> None:
    reason = resolve(name, ns).reason
    for word in words:
        assert word in reason


def test_rule_book_swaps_all_rules_at_once() -> None:
    book = RuleBook(RULESET)
    book.replace(HUB_ROOT)
    assert book.current is HUB_ROOT
    assert HUB_ROOT.rule("quay") is QUAY
    assert HUB_ROOT.rule("gitlab") is None


GUARDED = RuleSet(
    [
        CacheRule(
            "docker-hub",
            parse_upstream("registry-1.docker.io"),
            allow=("library/*", "corp/**"),
            deny=("corp/secret/**", "*/*-dev"),
        ),
        CacheRule("cg", parse_upstream("cgr.dev"), upstream_prefix="example.com", allow=("example.com/nginx",)),
        QUAY,
    ],
    hosted=["docker-hub/library/mine"],
)


@pytest.mark.parametrize(
    ("name", "ns", "mirror"),
    [
        ("docker-hub/nginx", None, None),
        ("docker-hub/library/nginx", None, None),
        ("library/nginx", "docker.io", None),
        ("nginx", None, "docker-hub"),
        ("docker-hub/corp/a/b", None, None),
        ("docker-hub/corp/secret", None, None),
        ("cg/nginx", None, None),
        ("example.com/nginx", "cgr.dev", None),
        ("quay/any/thing", None, None),
        ("docker-hub/library/mine", None, None),
    ],
)
def test_what_allow_names_is_pulled_by_every_layout(name: str, ns: str | None, mirror: str | None) -> None:
    assert resolve(name, ns, mirror, GUARDED).refusal is None


@pytest.mark.parametrize(
    ("name", "ns", "mirror", "sentence"),
    [
        ("docker-hub/grafana/grafana", None, None,
         "rule docker-hub does not let grafana/grafana be pulled: it matches nothing in its `allow`"),
        ("grafana/grafana", "docker.io", None,
         "rule docker-hub does not let grafana/grafana be pulled: it matches nothing in its `allow`"),
        ("corp/secret/x", None, "docker-hub",
         "rule docker-hub does not let corp/secret/x be pulled: it matches corp/secret/** in its `deny`"),
        ("docker-hub/nginx-dev", None, None,
         "rule docker-hub does not let library/nginx-dev be pulled: it matches */*-dev in its `deny`"),
        ("cg/curl", None, None,
         "rule cg does not let example.com/curl be pulled: it matches nothing in its `allow`"),
    ],
)  # fmt: skip
def test_what_deny_names_or_allow_does_not_is_refused_by_rule_and_key(
    name: str, ns: str | None, mirror: str | None, sentence: str
) -> None:
    error = refused(name, ns, mirror, GUARDED)
    assert (error.code, error.message) == (ErrorCode.DENIED, sentence)
    located = GUARDED.locate(Address(RepositoryName(name), ns, mirror))
    assert located.remote is not None
    assert located.refusal == sentence
    assert located.reason.endswith(sentence)


def test_patterns_that_no_name_fits_are_refused() -> None:
    with pytest.raises(ValueError, match="fits no name"):
        RuleSet([CacheRule("q", parse_upstream("quay.io"), deny=("Team/**",))])
    with pytest.raises(ValueError, match="fits no name"):
        RuleSet([QUAY], hosted=["team/"])


IMMUTABLE = TagPolicy(TagMutability.IMMUTABLE)
BUT_LATEST = TagPolicy(TagMutability.IMMUTABLE_WITH_EXCLUSION, ("latest",))
TAGGED = {"docker-hub/library": IMMUTABLE, "quay": BUT_LATEST, "team": IMMUTABLE}


@pytest.mark.parametrize(
    ("name", "ns", "mirror", "policy"),
    [
        ("docker-hub/library/nginx", None, None, IMMUTABLE),
        ("docker-hub/nginx", None, None, IMMUTABLE),  # the canonical name counts, however it was spelt
        ("nginx", "docker.io", None, IMMUTABLE),
        ("nginx", None, "docker-hub", IMMUTABLE),
        ("docker-hub/grafana/grafana", None, None, ALL_TAGS_MOVE),
        ("quay/app", None, None, BUT_LATEST),
        ("team/app", None, None, IMMUTABLE),  # hosted, by one way or the other
        ("quay/mine", None, None, BUT_LATEST),
        ("other/app", None, None, ALL_TAGS_MOVE),
    ],
)
def test_a_repository_has_the_tag_policy_of_its_prefix(
    name: str, ns: str | None, mirror: str | None, policy: TagPolicy
) -> None:
    rules = RuleSet([HUB, QUAY], hosted=["quay/mine"], tag_defaults=TagDefaults(TAGGED))
    assert resolve(name, ns, mirror, rules).tag_policy == policy
    assert resolve(name, ns, mirror, RuleSet([HUB, QUAY])).tag_policy == ALL_TAGS_MOVE


def test_root_policies_hold_for_every_repository_below_a_root_rule_too() -> None:
    defaults = TagDefaults({ROOT: IMMUTABLE, "team": ALL_TAGS_MOVE})
    rules = RuleSet([rule(ROOT, "registry-1.docker.io")], hosted=["team/**"], tag_defaults=defaults)
    assert [resolve(name, rules=rules).tag_policy for name in ("nginx", "a/b", "team/x")] == [
        IMMUTABLE,
        IMMUTABLE,
        ALL_TAGS_MOVE,
    ]


def test_pushes_are_taken_by_what_is_hosted_and_by_rules_that_let_them() -> None:
    pushable = CacheRule("quay", parse_upstream("quay.io"), push=True)
    rules = RuleSet([HUB, pushable], hosted=["docker-hub/mine"])
    found = {name: resolve(name, rules=rules) for name in ("docker-hub/a/b", "docker-hub/mine", "quay/a", "team/a")}
    assert {name: one.takes_pushes for name, one in found.items()} == {
        "docker-hub/a/b": False,
        "docker-hub/mine": True,
        "quay/a": True,
        "team/a": True,
    }
    assert {name: one.sources for name, one in found.items()} == {
        "docker-hub/a/b": ("registry-1.docker.io/a/b",),
        "docker-hub/mine": None,
        "quay/a": ("quay.io/a", UPLOADED),
        "team/a": None,
    }


def test_the_rules_of_a_configuration_know_its_tag_policies_and_who_may_push() -> None:
    text = """
registry: {tags: [{prefix: quay/app/, mutability: IMMUTABLE_WITH_EXCLUSION, filters: [latest]}]}
rules:
  - {prefix: quay, upstream: quay.io, push: allow}
  - {prefix: docker-hub, upstream: docker.io}
"""
    rules = RuleSet.of(parse_settings(text, {}))
    found = resolve("quay/app/web", rules=rules)
    assert (found.tag_policy, found.takes_pushes) == (BUT_LATEST, True)
    other = resolve("docker-hub/app/web", rules=rules)
    assert (other.tag_policy, other.takes_pushes) == (ALL_TAGS_MOVE, False)


def test_what_an_address_means_is_found_once_for_each_set_of_rules() -> None:
    rules, others = RuleSet(RULES), RuleSet([rule("quay", "other.example")])
    assert resolve("quay/a", rules=rules) is resolve("quay/a", rules=rules)
    assert resolve("quay/a", rules=rules) != resolve("quay/a", rules=others)
    assert resolve("a", mirror="quay", rules=rules) != resolve("a", rules=rules)
    for _ in range(2):
        assert refused("a", ns="nowhere.example", rules=rules).code is ErrorCode.NAME_UNKNOWN
