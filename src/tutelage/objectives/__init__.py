"""The menu: every objective a recipe can name. Importing it loads no torch; the tensor functions are imported when a fit starts."""

from __future__ import annotations

from dataclasses import replace

from tutelage.errors import SettingsError, did_you_mean
from tutelage.objectives.term import QUANTITIES, UNITS, Objective, Own, Ramp, Switch, Term

__all__ = [
    "QUANTITIES",
    "UNITS",
    "Objective",
    "Own",
    "Ramp",
    "Switch",
    "Term",
    "bradley_terry",
    "classification",
    "clipped_kl",
    "critique_bradley_terry",
    "cross_entropy",
    "dac_kl",
    "dpo",
    "forward_kl",
    "grpo",
    "guided_grpo",
    "ipo",
    "jensen_shannon",
    "kto",
    "match_hidden_cosine",
    "match_hidden_mse",
    "off_policy",
    "reverse_kl",
    "rloo",
    "sampled_kl",
    "simpo",
    "skewed_kl",
    "skewed_reverse_kl",
    "span_correlation",
    "sparse",
    "supervised_contrast",
    "total_variation",
]

_DENSE = "tutelage.objectives.divergences"
_SPARSE = "tutelage.objectives.tails"
_TOKENS = "tutelage.objectives.tokens"
_PREFERENCES = "tutelage.objectives.preferences"
_ESTIMATORS = "tutelage.objectives.estimators"
_MATCHING = "tutelage.objectives.matching"
_REWARDS = "tutelage.objectives.rewards"
_CONTRASTIVE = "tutelage.objectives.contrastive"
_POLICY = "tutelage.objectives.policy"
_REVISION = "tutelage.objectives.revision"
_PAIR = ("chosen_log_probs", "rejected_log_probs", "reference_chosen_log_probs", "reference_rejected_log_probs")


def cross_entropy(*, per: str = "token", over: str = "") -> Objective:
    """Negative log-probability of every completion token, weighted by its span and example, over all weights of the window
    (or, with `per="sequence"`, the mean over each completion first)."""
    return Objective(
        terms=(
            Term(name="cross_entropy", function=f"{_TOKENS}:negative_log_prob", takes=("log_probs",), grain="token", unit=per, over=over),
        )
    )


def dpo(*, beta: float = 0.1, nll: float = 0.0, smoothing: float = 0.0) -> Objective:
    """Direct preference optimisation. `nll` adds that weight of the chosen completion's mean negative log-probability per token;
    `smoothing` is the assumed share of flipped labels (conservative DPO)."""
    _positive("dpo", "beta", beta)
    if not 0 <= smoothing < 0.5:
        raise SettingsError("dpo needs a smoothing in [0, 0.5)", got=smoothing)
    term = Term(
        name="dpo",
        function=f"{_PREFERENCES}:dpo",
        takes=_PAIR,
        grain="pair",
        unit="pair",
        options=(("beta", beta), ("smoothing", smoothing)),
        report=f"{_PREFERENCES}:implicit_rewards",
    )
    return Objective(terms=(term,)) + nll * cross_entropy(per="sequence", over="chosen") if nll else Objective(terms=(term,))


def ipo(*, tau: float = 0.1, per_token: bool = False) -> Objective:
    """Identity preference optimisation: the margin is pulled to 1 / (2 tau) instead of to infinity."""
    _positive("ipo", "tau", tau)
    return _one(
        "ipo",
        f"{_PREFERENCES}:{'ipo_per_token' if per_token else 'ipo'}",
        (*_PAIR, "chosen_tokens", "rejected_tokens") if per_token else _PAIR,
        "pair",
        tau=tau,
    )


def simpo(*, beta: float = 2.0, gamma: float = 1.0) -> Objective:
    """Length-normalised preference with a target margin and no reference."""
    _positive("simpo", "beta", beta)
    takes = ("chosen_log_probs", "rejected_log_probs", "chosen_tokens", "rejected_tokens")
    return _one("simpo", f"{_PREFERENCES}:simpo", takes, "pair", beta=beta, gamma=gamma)


def kto(*, beta: float = 0.1, desirable: float = 1.0, undesirable: float = 1.0) -> Objective:
    """Unpaired preference: examples with label 1 (desirable) or 0. Its reference point couples the examples of a window."""
    _positive("kto", "beta", beta)
    takes = ("sequence_log_probs", "reference_sequence_log_probs", "sequence_labels", "mismatched_log_ratios")
    options = (("beta", beta), ("desirable", desirable), ("undesirable", undesirable))
    term = Term(name="kto", function=f"{_PREFERENCES}:kto", takes=takes, grain="sequence", unit="sequence", options=options, coupled=True)
    return Objective(terms=(term,))


def forward_kl(*, temperature: float = 1.0, over: str = "") -> Objective:
    """KL(teacher || student) at every charged token (of the rows of one role)."""
    return _over(over, _divergence("forward_kl", temperature=temperature))


def reverse_kl(*, temperature: float = 1.0) -> Objective:
    """KL(student || teacher) at every charged token."""
    return _divergence("reverse_kl", temperature=temperature)


def jensen_shannon(*, beta: float = 0.5, temperature: float = 1.0) -> Objective:
    """Generalised Jensen-Shannon divergence; beta 0 is forward and 1 reverse KL."""
    _share("jensen_shannon", "beta", beta, closed=True)
    return _divergence("jensen_shannon", beta=beta, temperature=temperature)


def skewed_kl(*, alpha: float = 0.1, temperature: float = 1.0) -> Objective:
    """KL(teacher || mixture of teacher and student): forward KL without its explosions."""
    _share("skewed_kl", "alpha", alpha)
    return _divergence("skewed_kl", alpha=alpha, temperature=temperature)


def skewed_reverse_kl(*, alpha: float = 0.1, temperature: float = 1.0) -> Objective:
    """KL(student || mixture of student and teacher)."""
    _share("skewed_reverse_kl", "alpha", alpha)
    return _divergence("skewed_reverse_kl", alpha=alpha, temperature=temperature)


def total_variation(*, temperature: float = 1.0) -> Objective:
    """Half the sum of absolute differences."""
    return _divergence("total_variation", temperature=temperature)


def sparse(divergence: Objective) -> Objective:
    """The same divergences on the teacher's top k and a tail bucket: `sparse(reverse_kl())`, with targets that offer the top k."""
    return Objective(terms=tuple(_sparse_term(t) for t in divergence.terms))


def sampled_kl(*, estimator: str = "policy_kl", against: str = "teacher") -> Objective:
    """Divergence to the teacher or reference from the drawn tokens alone: `k1`, `k2`, `k3`, or `policy_kl` (its policy gradient)."""
    for name, value, known in (
        ("estimator", estimator, ("k1", "k2", "k3", "policy_kl")),
        ("against", against, ("teacher", "reference")),
    ):
        if value not in known:
            raise SettingsError(f"sampled_kl has no such {name}", got=value, fix=did_you_mean(value, known))
    return _one(f"sampled_kl_{estimator}", f"{_ESTIMATORS}:{estimator}", ("log_probs", f"{against}_log_probs"), "token")


def dac_kl(
    *, classes: int = 64, width: int = 128, least_mass: float = 0.5, penalty: float = 0.01, keep_label: bool = True, over: str = ""
) -> Objective:
    """Forward KL on the classes where the teacher's mass is dense, in a region that a small network of the term's own learns from the
    `classes` likeliest; at least `least_mass` of the teacher and the label always stay."""
    _share("dac_kl", "least_mass", least_mass)
    own = (
        Own(name="inner", rows=str(2 * classes), columns=str(width)),
        Own(name="inner_bias", rows="1", columns=str(width), start=0.0),
        Own(name="outer", rows=str(width), columns="2"),
        Own(name="outer_bias", rows="1", columns="2", start=0.0),
    )
    options = (("least_mass", least_mass), ("penalty", penalty), ("keep_label", keep_label))
    takes = ("logits", "teacher_logits", "shared_labels")
    term = Term(
        name="dac_kl", function=f"{_REVISION}:dac_kl", takes=takes, grain="token", unit="token", own=own, options=options, over=over
    )
    return Objective(terms=(term,))


def clipped_kl(*, low: float = 0.0, high: float = 0.95, over: str = "") -> Objective:
    """Forward KL on the classes between two quantiles of the teacher's mass; the label always stays."""
    if not 0 <= low < high <= 1:
        raise SettingsError("clipped_kl needs 0 <= low < high <= 1", got=(low, high))
    takes = ("logits", "teacher_logits", "shared_labels")
    options = (("low", low), ("high", high))
    term = Term(name="clipped_kl", function=f"{_REVISION}:clipped_kl", takes=takes, grain="token", unit="token", options=options, over=over)
    return Objective(terms=(term,))


def span_correlation(*, where: str = "in_span", over: str = "") -> Objective:
    """Squared distance between teacher's and student's products of the predictions of two neighbouring tokens, over the tokens marked
    `where`: those whose predecessor stands in the same span. The mean is over such pairs."""
    takes = ("neighbour_logits", "teacher_neighbour_logits")
    term = Term(
        name="span_correlation", function=f"{_REVISION}:span_correlation", takes=takes, grain="token", unit="token", where=where, over=over
    )
    return Objective(terms=(term,))


def match_hidden_cosine() -> Objective:
    """1 - cosine between the last hidden states of student and teacher, which must be equally wide."""
    return _one("match_hidden_cosine", f"{_MATCHING}:cosine", ("hidden", "teacher_hidden"), "token")


def match_hidden_mse() -> Objective:
    """Mean square between the teacher's last hidden state and the student's under a projection that is trained along and dropped after."""
    own = (Own(name="projection", rows="hidden", columns="teacher_hidden"),)
    takes = ("hidden", "teacher_hidden")
    term = Term(name="match_hidden_mse", function=f"{_MATCHING}:projected_mse", takes=takes, grain="token", unit="token", own=own)
    return Objective(terms=(term,))


def bradley_terry(*, centring: float = 0.0) -> Objective:
    """A reward model (`head="class"`, `classes=1`): the chosen sequence scores above the rejected one by the pair's margin."""
    takes = ("chosen_scores", "rejected_scores", "margins")
    options = (("centring", centring),)
    report = f"{_REWARDS}:score_wins"
    term = Term(
        name="bradley_terry", function=f"{_REWARDS}:bradley_terry", takes=takes, grain="pair", unit="pair", options=options, report=report
    )
    return Objective(terms=(term,))


def critique_bradley_terry(*, language: float | Ramp = 1.0, preference: float | Ramp = 1.0, centring: float = 0.0) -> Objective:
    """A reward model that writes a critique first: `preference` times Bradley-Terry on a head of its own after the critique, plus
    `language` times the cross-entropy of the critique's tokens. Pairs carry `chosen_critique` and `rejected_critique` in their context,
    or come from `Compared`, each side a critique under its own prompt."""
    takes = ("chosen_hidden", "rejected_hidden", "margins")
    options = (("centring", centring),)
    own = (Own(name="reward_head", rows="hidden", columns="1"),)
    function = f"{_REWARDS}:headed_bradley_terry"
    term = Term(
        name="critique_bradley_terry", function=function, takes=takes, grain="pair", unit="pair", options=options, own=own,
        weight=preference,
    )  # fmt: skip
    return Objective(terms=(term, replace(cross_entropy().terms[0], weight=language)))


def classification() -> Objective:
    """Cross-entropy of the class head against the examples' labels, weighted by example."""
    return _one("classification", f"{_REWARDS}:classification", ("class_logits", "sequence_labels"), "sequence")


def supervised_contrast(*, temperature: float = 0.1) -> Objective:
    """For the embed head: examples of one label are pulled together, others pushed apart, within a window. A window must hold several
    examples of a label; one that is alone charges nothing, and counts."""
    _positive("supervised_contrast", "temperature", temperature)
    function = f"{_CONTRASTIVE}:supervised_contrast"
    takes = ("vectors", "sequence_labels")
    term = Term(
        name="supervised_contrast", function=function, takes=takes, grain="sequence", unit="sequence", coupled=True,
        options=(("temperature", temperature),),
    )  # fmt: skip
    return Objective(terms=(term,))


def grpo(*, per: str = "sequence", clip_low: float = 0.2, clip_high: float = 0.2, kl: float = 0.0, over: str = "") -> Objective:
    """Group-relative policy optimisation on rollouts with advantages. `per="sequence"` is the paper's mean over each completion first,
    `per="token"` the mean over all tokens; `kl` weighs the k3 divergence to the reference."""
    options = (("clip_low", clip_low), ("clip_high", clip_high))
    takes = ("log_probs", "behaviour_log_probs", "advantages")
    term = Term(name="grpo", function=f"{_POLICY}:clipped", takes=takes, grain="token", unit=per, options=options, over=over)
    k3 = Term(
        name="reference_kl", function=f"{_ESTIMATORS}:k3", takes=("log_probs", "reference_log_probs"), grain="token", unit=per, weight=kl,
        over=over,
    )  # fmt: skip
    return Objective(terms=(term, k3) if kl else (term,))


def guided_grpo(
    *, per: str = "token", clip: float = 0.2, best: float = 0.001, worst: float = -0.001, reach: float = 4.0, spare: float = 0.01
) -> Objective:
    """GRPO on rollouts some of which somebody else wrote on: in those (marked `foreign`) the ratio is shaped by the advantage, from `best`
    at `reach` to `worst` at minus it; unlikely tokens (under `spare`) of bad ones take the clipped term."""
    _positive("guided_grpo", "reach", reach)
    takes = ("log_probs", "behaviour_log_probs", "advantages", "foreign")
    options = (("clip_low", clip), ("clip_high", clip), ("best", best), ("worst", worst), ("reach", reach), ("spare", spare))
    term = Term(name="guided_grpo", function=f"{_POLICY}:guided", takes=takes, grain="token", unit=per, options=options)
    return Objective(terms=(term,))


def rloo() -> Objective:
    """REINFORCE on whole sequences; the rollouts bring leave-one-out advantages."""
    return _one("rloo", f"{_POLICY}:reinforce", ("sequence_log_probs", "sequence_advantages"), "sequence")


def off_policy(*, gamma: float = 0.1, per: str = "token", over: str = "") -> Objective:
    """Policy gradient on tokens that another policy wrote, with the importance ratio shaped to lift unlikely tokens."""
    _positive("off_policy", "gamma", gamma)
    takes = ("log_probs", "behaviour_log_probs", "advantages")
    options = (("gamma", gamma),)
    term = Term(name="off_policy", function=f"{_POLICY}:shaped", takes=takes, grain="token", unit=per, options=options, over=over)
    return Objective(terms=(term,))


def _one(name: str, function: str, takes: tuple[str, ...], unit: str, **options: float) -> Objective:
    return Objective(terms=(Term(name=name, function=function, takes=takes, grain=unit, unit=unit, options=tuple(options.items())),))


def _divergence(name: str, **options: float) -> Objective:
    _positive(name, "temperature", options["temperature"])
    return _one(name, f"{_DENSE}:{name}", ("logits", "teacher_logits"), "token", **options)


def _over(role: str, objective: Objective) -> Objective:
    return Objective(terms=tuple(replace(t, over=role) for t in objective.terms)) if role else objective


def _sparse_term(term: Term) -> Term:
    module, _, function = term.function.partition(":")
    if module != _DENSE:
        raise SettingsError(
            "only a divergence has a sparse form", got=term.name, fix="use sparse(forward_kl()), sparse(reverse_kl()) or the like"
        )
    options = dict(term.options)
    if options.pop("temperature", 1.0) != 1.0:
        raise SettingsError(
            "top-k log-probabilities of a teacher cannot be given another temperature", got=dict(term.options), fix="use temperature 1"
        )
    takes = ("logits", "teacher_top_ids", "teacher_top_log_probs")
    return replace(term, name=f"sparse_{term.name}", function=f"{_SPARSE}:{function}", takes=takes, options=tuple(options.items()))


def _share(objective: str, name: str, value: float, *, closed: bool = False) -> None:
    if not (0 <= value <= 1 if closed else 0 < value < 1):
        raise SettingsError(f"{objective} needs {name} between 0 and 1", got=value)


def _positive(objective: str, name: str, value: float) -> None:
    if not value > 0:
        raise SettingsError(f"{objective} needs a positive {name}", got=value)
