import pytest

from tutelage.records import Problem
from tutelage.verify.extract import tidy
from tutelage.verify.numeric import digits, numeric, parse_number

# What a model writes as its answer, and the number it states; `?` where it states none, or leaves it open.
UGLY = """
18 | 18
18. | 18
18.0 | 18
18.00 | 18
018 | 18
+18 | 18
18 eggs | 18
18 eggs per day | 18
18eggs | 18
18-dollar | 18
about 18 | 18
approximately 18 miles | 18
exactly 18! | 18
18 (eighteen) | 18
(18) | 18
[18] | 18
{18} | 18
"18" | 18
'18' | 18
**18** | 18
*18* | 18
__18__ | 18
`18` | 18
$18 | 18
$ 18 | 18
$18.00 | 18
$18.50 | 18.5
18$ | 18
18 $ | 18
US$18 | 18
USD 18 | 18
18 USD | 18
£18 | 18
€18 | 18
18 € | 18
¥1800 | 1800
₹1,800 | 1800
Rs. 1800 | 1800
-$18 | -18
$-18 | -18
- $18 | -18
-18 | -18
- 18 | -18
−18 | -18
minus 18 | -18
negative 18 | -18
-18.5 degrees | -18.5
-0 | 0
-1/2 | -0.5
1,800 | 1800
1,800.50 | 1800.5
$1,800 | 1800
12,345,678 | 12345678
1 800 | 1800
1 800 000 | 1800000
1\u202f800 | 1800
1_800 | 1800
1'800 | 1800
1,800,000 people | 1800000
1.800,50 | 1800.5
2,5 | 2.5
0,75 | 0.75
1.5 | 1.5
.5 | 0.5
-.5 | -0.5
0.50 | 0.5
1/2 | 0.5
3/4 | 0.75
3 / 4 | 0.75
3⁄4 | 0.75
1/3 | 1/3
2 1/2 | 2.5
2 1/2 cups | 2.5
½ | 0.5
2½ | 2.5
2 ½ | 2.5
¾ cup | 0.75
⅓ | 1/3
\\frac{1}{2} | 0.5
\\dfrac{3}{4} | 0.75
\\tfrac{3}{4} | 0.75
\\frac12 | 0.5
-\\frac{1}{2} | -0.5
1\\frac{1}{2} | 1.5
$\\frac{1}{2}$ | 0.5
\\$18 | 18
18\\% | 18%
50% | 50%
50 % | 50%
50 percent | 50%
50 per cent | 50%
12.5% | 12.5%
$50\\%$ | 50%
0.5% | 0.5%
-5% | -5%
1e3 | 1000
1.5e6 | 1500000
1E-2 | 0.01
1.5 x 10^3 | 1500
1.5 × 10^3 | 1500
1.5 \\times 10^3 | 1500
1.5 \\times 10^{3} | 1500
2*10^3 | 2000
2 * 10**3 | 2000
6.02 × 10^23 | 602000000000000000000000
5 × 10^-2 | 0.05
2 million | 2000000
2.5 million dollars | 2500000
$3 billion | 3000000000
3 thousand | 3000
4 hundred | 400
1.2 trillion | 1200000000000
x = 18 | 18
x=18 | 18
x = -18 | -18
9 * 2 = 18 | 18
9 * 2 = $18 | 18
9 + 9 = 18 eggs | 18
16 - 3 - 4 = 9 | 9
18 = 9 * 2 | 18
= 18 | 18
≈ 18.5 | 18.5
x ≈ 18.5 | 18.5
total = 9 * 2 = 18 dollars per day | 18
9*2=<<9*2=18>>18 | 18
$<<9*2=18>>18 | 18
18 km | 18
18km/h | 18
18 km/h | 18
18 m² | 18
18 cm^2 | 18
18 m^3 | 18
18 kg. | 18
18 °C | 18
-18°C | -18
18° | 18
18 years old | 18
18th | 18
1st | 1
18 hours and no minutes | 18
18 of the 20 | 18
18 out of 20 | 18
18 pages left to read. | 18
18, which is what was asked | 18
18; that is all | 18
18 because 9 times 2 gives it | 18
18 dollars. Hope this helps! | 18
She makes $18 every day | 18
He has 18 left | 18
it is 18 | 18
Janet has 18 eggs | 18
the total is 18 | 18
eighteen | 18
Eighteen eggs | 18
twenty-one | 21
twenty one | 21
forty-two dollars | 42
minus forty-two | -42
one hundred | 100
one hundred and five | 105
two hundred fifty | 250
three thousand | 3000
two thousand and twelve | 2012
one million two hundred thousand | 1200000
zero | 0
ten apples | 10
nineteen | 19
ninety-nine | 99
1,000 | 1000
10,00 | 10
100,000,000.25 | 100000000.25
007 | 7
3.14159 | 3.14159
3.1415926535 | 3.1415926535
99999999999999999999 | 99999999999999999999
0.1 | 0.1
0.30000000000000004 | 0.30000000000000004
1/7 | 1/7
22/7 | 22/7
-22/7 | -22/7
5/1 | 5
10/5 | 2
1,000/4 | 250
\\text{18} | 18
18\\text{ eggs} | 18
18\\,000 | 18000
18{,}000 | 18000
\\boxed | ?
18\\ \\text{cm} | 18
\\mathbf{18} | 18
1８ | 18
１８ | 18
18！ | 18
18。 | 18
no answer | ?
none | ?
unknown | ?
 | ?
x | ?
n/a | ?
N/A | ?
infinity | ?
∞ | ?
1/0 | ?
0/0 | ?
10+John's age | ?
10 + x | ?
2 + 3 | ?
9 * 2 | ?
16 - 7 | ?
5 - x | ?
3^2 | ?
18 or 20 | ?
18 to 20 | ?
18-20 | ?
18 - 20 | ?
18–20 | ?
between 18 and 20 | ?
from 18 to 20 | ?
18 and 20 | ?
3:30 | ?
3:2 | ?
two or three | ?
two to three | ?
1e9999 | ?
10^99999 | ?
two thirds | ?
three and a half | ?
x(x + 2) | ?
x + 2 | ?
x-2 | ?
n - 2 | ?
(a + b) - 2 | ?
about -2 | -2
down by -2.5 | -2.5
five sixths | ?
"""
CASES = [
    tuple(part.strip() for part in line.split(" | ") + [""])[:2] if not line.startswith(" |") else ("", "?")
    for line in UGLY.strip("\n").splitlines()
]


def problem(answer):
    return Problem(text="q", answer=answer)


def test_there_are_at_least_two_hundred_cases():
    assert len(CASES) == len(set(CASES))
    assert len(CASES) >= 200
    assert sum(value == "?" for _, value in CASES) >= 30


@pytest.mark.parametrize(("written", "value"), CASES)
def test_ugly_answers(written, value):
    verdict = numeric(problem("18" if value == "?" else value), f"<ans>{written}</ans>")
    if value == "?":
        assert not verdict.parsed, verdict
        assert verdict.score == 0
        return
    assert verdict.right, verdict
    assert digits(parse_number(tidy(written))[0]) == verdict.extracted
    number = parse_number(value)[0]
    for wrong in (number + 1, -number if number else 5, number * 10 + 3, number / 7 + 1):
        if wrong != number and not (value.endswith("%") and wrong == number / 100):
            assert numeric(problem(digits(wrong)), f"<ans>{written}</ans>").score == 0


def test_a_run_of_digits_without_end_is_not_a_number():
    assert not numeric(problem("3"), "<ans>" + "3" * 5000 + "</ans>").parsed
    assert numeric(problem("3"), "3" * 300).score == 0
    assert not numeric(problem("3"), "0." + "3" * 100_000).parsed


def test_tolerance_is_relative_and_off_by_default():
    third = problem("33.33")
    assert numeric(third, "33.3333").score == 0
    assert numeric(third, "33.3333", tolerance=0.001).right
    assert numeric(problem("0"), "0.0001", tolerance=0.5).score == 0


def test_percent_matches_both_ways_of_writing_gold():
    assert numeric(problem("50"), "50%").right
    assert numeric(problem("0.5"), "50%").right
    assert numeric(problem("50%"), "0.5").right
    assert numeric(problem("0.5"), "50").score == 0


def test_problems_without_a_number_are_not_judged():
    assert not numeric(problem(None), "18").parsed
    assert not numeric(problem("a lot"), "18").parsed


@pytest.mark.parametrize(
    ("text", "read"), [("so\n#### 1,018", "1018"), ("<ans>18 apples</ans>", "18"), ("<ans>many</ans>", None), ("", None)]
)
def test_without_a_key_the_number_is_read_all_the_same(text, read):
    """What a model wrote beside its own question becomes that question's key."""
    verdict = numeric(problem(None), text)
    assert (verdict.extracted, verdict.parsed) == (read, False)
    if read is not None:
        assert numeric(problem(read), text).right


def test_digits():
    assert [digits(parse_number(t)[0]) for t in ("0.001", "-0.25", "1/8", "1/3", "100", "-7")] == [
        "0.001",
        "-0.25",
        "0.125",
        "1/3",
        "100",
        "-7",
    ]


def test_the_short_way_equals_the_long_way():
    from tutelage.verify.numeric import _SIMPLE

    for written in ("0", "-7", "18", "18.50", "1,800", "$1,800.25", "-$3", "123456789012345678", "007"):
        assert _SIMPLE.fullmatch(written)
        assert parse_number(written) == parse_number(f" {written}")
    for written in ("1,80", "1,,800", "1.", ".5", "1e3", "$", "-", "12 34", "１８"):
        assert not _SIMPLE.fullmatch(written)
