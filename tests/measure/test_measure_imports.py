import subprocess
import sys


def test_importing_the_room_loads_neither_numpy_nor_scipy():
    code = "import sys, tutelage.measure; print(sorted({'numpy', 'scipy', 'torch', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
