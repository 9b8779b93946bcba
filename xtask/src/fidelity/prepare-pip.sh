apt-get install -y --no-install-recommends python3-pip
mkdir -p /root/wheels
python3 - <<'PYTHON'
import base64, hashlib, zipfile
files = {
    "ours/__init__.py": "def main():\n    print('ours')\n",
    "ours/data.txt": "data\n" * 100,
    "ours-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: ours\nVersion: 1.0\n",
    "ours-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "ours-1.0.dist-info/entry_points.txt": "[console_scripts]\nours = ours:main\n",
}
record = "ours-1.0.dist-info/RECORD"
lines = []
for name, text in files.items():
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    lines.append(f"{name},sha256={digest},{len(text)}")
files[record] = "\n".join(lines + [record + ",,", ""])
with zipfile.ZipFile("/root/wheels/ours-1.0-py3-none-any.whl", "w") as wheel:
    for name, text in files.items():
        wheel.writestr(name, text)
PYTHON
