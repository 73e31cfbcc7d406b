"""The built-in profiles, parsed: values and lines, by the digest of the text (profile.source.digest). Written by tools/gen_known.py; do not edit."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Parsed = tuple[Mapping[str, object], Mapping[tuple[str | int, ...], int]]

DOCUMENTS: dict[str, Callable[[], Parsed]] = {
    # build.toml
    "9702f157cab3822d5b224d9cd3173697673acb47402b88c87999a4bf58c34a65": lambda: (
        {'schema': 1, 'description': 'Compile in the current directory: default plus build variables', 'extends': 'builtin:default', 'filesystem': {'execute': ['/opt?']}, 'environment': {'pass': ['@basic', 'AR', 'AS', 'CC', 'CFLAGS', 'CPP', 'CPPFLAGS', 'CXX', 'CXXFLAGS', 'LD', 'LDFLAGS', 'LIBS', 'MAKEFLAGS', 'MFLAGS', 'NM', 'PKG_CONFIG_PATH', 'RANLIB', 'SOURCE_DATE_EPOCH', 'STRIP', 'V']}},
        {('schema',): 5, ('description',): 6, ('extends',): 7, ('filesystem',): 9, ('filesystem', 'execute'): 10, ('filesystem', 'execute', 0): 10, ('environment',): 12, ('environment', 'pass'): 13, ('environment', 'pass', 0): 14, ('environment', 'pass', 1): 14, ('environment', 'pass', 2): 14, ('environment', 'pass', 3): 14, ('environment', 'pass', 4): 14, ('environment', 'pass', 5): 14, ('environment', 'pass', 6): 14, ('environment', 'pass', 7): 14, ('environment', 'pass', 8): 14, ('environment', 'pass', 9): 14, ('environment', 'pass', 10): 14, ('environment', 'pass', 11): 14, ('environment', 'pass', 12): 14, ('environment', 'pass', 13): 15, ('environment', 'pass', 14): 15, ('environment', 'pass', 15): 15, ('environment', 'pass', 16): 15, ('environment', 'pass', 17): 15, ('environment', 'pass', 18): 15, ('environment', 'pass', 19): 15},
    ),
    # cargo.toml
    "14434baa8f74a63a48ba4de815f6400ded37db753e89d6ab643b0b5cbb2e6efa": lambda: (
        {'schema': 1, 'description': 'Build Rust packages here: build plus crates.io by name', 'extends': 'builtin:build', 'filesystem': {'read': ['~/.rustup/settings.toml?'], 'execute': ['~/.cargo/bin?', '~/.rustup/toolchains?']}, 'network': {'connect': ['index.crates.io:443', 'static.crates.io:443']}, 'environment': {'pass': ['@basic', 'CARGO_HTTP_CAINFO', 'CARGO_TERM_COLOR', 'RUSTFLAGS', 'RUSTUP_TOOLCHAIN', 'SSL_CERT_DIR', 'SSL_CERT_FILE']}},
        {('schema',): 9, ('description',): 10, ('extends',): 11, ('filesystem',): 13, ('filesystem', 'read'): 14, ('filesystem', 'read', 0): 14, ('filesystem', 'execute'): 15, ('filesystem', 'execute', 0): 15, ('filesystem', 'execute', 1): 15, ('network',): 17, ('network', 'connect'): 18, ('network', 'connect', 0): 18, ('network', 'connect', 1): 18, ('environment',): 20, ('environment', 'pass'): 21, ('environment', 'pass', 0): 21, ('environment', 'pass', 1): 21, ('environment', 'pass', 2): 21, ('environment', 'pass', 3): 21, ('environment', 'pass', 4): 21, ('environment', 'pass', 5): 21, ('environment', 'pass', 6): 21},
    ),
    # ci-test.toml
    "3f6c8485996c9178b3ddfa30e75a22ee29b95dfdc72149ec87583c36278cf543": lambda: (
        {'schema': 1, 'description': 'Run a test suite: build plus the variables of a CI job, an hour at the most', 'extends': 'builtin:build', 'environment': {'pass': ['CI', 'FORCE_COLOR', 'NO_COLOR', 'TEST_*', 'GITHUB_ACTIONS', 'GITHUB_JOB', 'GITHUB_REF', 'GITHUB_REPOSITORY', 'GITHUB_RUN_ID', 'GITHUB_SHA', 'GITLAB_CI', 'CI_COMMIT_SHA', 'CI_JOB_ID', 'CI_PROJECT_NAME']}, 'time': {'timeout': '1h', 'grace': '10s'}},
        {('schema',): 5, ('description',): 6, ('extends',): 7, ('environment',): 9, ('environment', 'pass'): 10, ('environment', 'pass', 0): 11, ('environment', 'pass', 1): 11, ('environment', 'pass', 2): 11, ('environment', 'pass', 3): 11, ('environment', 'pass', 4): 11, ('environment', 'pass', 5): 11, ('environment', 'pass', 6): 11, ('environment', 'pass', 7): 11, ('environment', 'pass', 8): 12, ('environment', 'pass', 9): 12, ('environment', 'pass', 10): 12, ('environment', 'pass', 11): 12, ('environment', 'pass', 12): 12, ('environment', 'pass', 13): 12, ('time',): 15, ('time', 'timeout'): 16, ('time', 'grace'): 17},
    ),
    # cpath.toml
    "987562e09bbcf853802e89d8a2421a53b09fd988bae2217ae05f595ee25a690f": lambda: (
        {'schema': 1, 'description': 'Building block: create and delete in the current directory (pledge cpath)', 'filesystem': {'rules': [{'path': '.', 'access': ['read_dir', 'make_reg', 'make_dir', 'make_sym', 'remove_file', 'remove_dir', 'refer']}]}, 'syscalls': {'default': 'errno', 'promises': ['cpath']}},
        {('schema',): 2, ('description',): 3, ('filesystem',): 5, ('filesystem', 'rules'): 6, ('filesystem', 'rules', 0): 7, ('filesystem', 'rules', 0, 'path'): 7, ('filesystem', 'rules', 0, 'access'): 7, ('filesystem', 'rules', 0, 'access', 0): 7, ('filesystem', 'rules', 0, 'access', 1): 7, ('filesystem', 'rules', 0, 'access', 2): 7, ('filesystem', 'rules', 0, 'access', 3): 7, ('filesystem', 'rules', 0, 'access', 4): 7, ('filesystem', 'rules', 0, 'access', 5): 7, ('filesystem', 'rules', 0, 'access', 6): 7, ('syscalls',): 10, ('syscalls', 'default'): 11, ('syscalls', 'promises'): 12, ('syscalls', 'promises', 0): 12},
    ),
    # default.toml
    "4378b417527ab605dcd13deb0d04f39756280e48c923a5c1795a94124cb4dc0c": lambda: (
        {'schema': 1, 'description': 'Work in the current directory: system readable, no network, no home', 'extends': 'builtin:programs', 'optional': ['process.isolate', 'filesystem.proc'], 'filesystem': {'read': ['@system', '@runtime', '/sys/devices/system/cpu?'], 'write': ['.', '@devices'], 'execute': ['@system', '@runtime', '.'], 'tmp': 'private', 'home': 'private', 'proc': 'own'}, 'process': {'isolate': True}},
        {('schema',): 9, ('description',): 10, ('extends',): 11, ('optional',): 12, ('optional', 0): 12, ('optional', 1): 12, ('filesystem',): 14, ('filesystem', 'read'): 15, ('filesystem', 'read', 0): 15, ('filesystem', 'read', 1): 15, ('filesystem', 'read', 2): 15, ('filesystem', 'write'): 16, ('filesystem', 'write', 0): 16, ('filesystem', 'write', 1): 16, ('filesystem', 'execute'): 17, ('filesystem', 'execute', 0): 17, ('filesystem', 'execute', 1): 17, ('filesystem', 'execute', 2): 17, ('filesystem', 'tmp'): 18, ('filesystem', 'home'): 19, ('filesystem', 'proc'): 20, ('process',): 22, ('process', 'isolate'): 23},
    ),
    # dns.toml
    "dbbe590b7892e47e5c2be12d6f5075d78b3f1adfb15b4197f3ab0119d2145aaf": lambda: (
        {'schema': 1, 'description': 'Building block: resolve host names over TCP (pledge dns)', 'filesystem': {'read': ['@dns']}, 'network': {'connect': ['tcp:53']}, 'environment': {'set': {'RES_OPTIONS': 'use-vc'}}, 'syscalls': {'default': 'errno', 'promises': ['dns']}},
        {('schema',): 4, ('description',): 5, ('filesystem',): 7, ('filesystem', 'read'): 8, ('filesystem', 'read', 0): 8, ('network',): 10, ('network', 'connect'): 11, ('network', 'connect', 0): 11, ('environment',): 13, ('environment', 'set'): 14, ('environment', 'set', 'RES_OPTIONS'): 14, ('syscalls',): 16, ('syscalls', 'default'): 17, ('syscalls', 'promises'): 18, ('syscalls', 'promises', 0): 18},
    ),
    # exec.toml
    "3a08e83dbac23399d244e77566c325211c3e4a824896ad3919ed5d441975d4da": lambda: (
        {'schema': 1, 'description': "Building block: execute the system's programs (pledge exec)", 'filesystem': {'execute': ['@system', '@runtime']}, 'syscalls': {'default': 'errno', 'promises': ['exec', 'rpath']}},
        {('schema',): 2, ('description',): 3, ('filesystem',): 5, ('filesystem', 'execute'): 6, ('filesystem', 'execute', 0): 6, ('filesystem', 'execute', 1): 6, ('syscalls',): 8, ('syscalls', 'default'): 9, ('syscalls', 'promises'): 10, ('syscalls', 'promises', 0): 10, ('syscalls', 'promises', 1): 10},
    ),
    # fattr.toml
    "9ee22d1cc8f864c0a6fc695daf2964bf1cf7f6ec9a84685e6a29c15497e28b88": lambda: (
        {'schema': 1, 'description': 'Building block: change modes, owners and times (pledge fattr)', 'syscalls': {'default': 'errno', 'promises': ['fattr', 'chown']}},
        {('schema',): 4, ('description',): 5, ('syscalls',): 7, ('syscalls', 'default'): 8, ('syscalls', 'promises'): 9, ('syscalls', 'promises', 0): 9, ('syscalls', 'promises', 1): 9},
    ),
    # getpw.toml
    "cff889885a998e89aaa31a36f6dec7bd0898e3084e4bf6bdff130aee980e7af0": lambda: (
        {'schema': 1, 'description': 'Building block: look up users and groups (pledge getpw)', 'filesystem': {'read': ['/etc/passwd?', '/etc/group?', '/etc/nsswitch.conf?', '/etc/login.defs?']}, 'syscalls': {'default': 'errno', 'promises': ['getpw']}},
        {('schema',): 2, ('description',): 3, ('filesystem',): 5, ('filesystem', 'read'): 6, ('filesystem', 'read', 0): 6, ('filesystem', 'read', 1): 6, ('filesystem', 'read', 2): 6, ('filesystem', 'read', 3): 6, ('syscalls',): 8, ('syscalls', 'default'): 9, ('syscalls', 'promises'): 10, ('syscalls', 'promises', 0): 10},
    ),
    # git-https.toml
    "3eab69a963e4ba4b77cf9d8f685a9030755215771ccc4d51b33737a28d708f27": lambda: (
        {'schema': 1, 'description': 'git over https in the current directory: default plus the well-known forges by name', 'extends': 'builtin:default', 'network': {'connect': ['github.com:443', 'gitlab.com:443', 'codeberg.org:443', 'bitbucket.org:443']}, 'environment': {'pass': ['@basic', 'GIT_AUTHOR_EMAIL', 'GIT_AUTHOR_NAME', 'GIT_COMMITTER_EMAIL', 'GIT_COMMITTER_NAME', 'GIT_SSL_CAINFO', 'SSL_CERT_DIR', 'SSL_CERT_FILE']}},
        {('schema',): 7, ('description',): 8, ('extends',): 9, ('network',): 11, ('network', 'connect'): 12, ('network', 'connect', 0): 12, ('network', 'connect', 1): 12, ('network', 'connect', 2): 12, ('network', 'connect', 3): 12, ('environment',): 14, ('environment', 'pass'): 15, ('environment', 'pass', 0): 16, ('environment', 'pass', 1): 16, ('environment', 'pass', 2): 16, ('environment', 'pass', 3): 16, ('environment', 'pass', 4): 16, ('environment', 'pass', 5): 16, ('environment', 'pass', 6): 17, ('environment', 'pass', 7): 17},
    ),
    # id.toml
    "c366a01f0c5cb6d4cc89021b2c1bb12568a23230eec1e3a25780007abc3006aa": lambda: (
        {'schema': 1, 'description': 'Building block: change ids and limits (pledge id)', 'syscalls': {'default': 'errno', 'promises': ['id']}},
        {('schema',): 2, ('description',): 3, ('syscalls',): 5, ('syscalls', 'default'): 6, ('syscalls', 'promises'): 7, ('syscalls', 'promises', 0): 7},
    ),
    # inet.toml
    "bd9f313696ad44eef3bbefe9289a1c7c86f6c1caaa4c75c353708ab0bc7b88cc": lambda: (
        {'schema': 1, 'description': 'Building block: TCP and UDP sockets (pledge inet)', 'network': {'connect': ['*'], 'bind': ['*']}, 'syscalls': {'default': 'errno', 'promises': ['inet']}},
        {('schema',): 2, ('description',): 3, ('network',): 5, ('network', 'connect'): 6, ('network', 'connect', 0): 6, ('network', 'bind'): 7, ('network', 'bind', 0): 7, ('syscalls',): 9, ('syscalls', 'default'): 10, ('syscalls', 'promises'): 11, ('syscalls', 'promises', 0): 11},
    ),
    # net-only.toml
    "2f52b1355f78b9d807597cb06a6e0a8aa3f82abc112203dc6c7d5ad9dca568fc": lambda: (
        {'schema': 1, 'description': 'TCP and UDP to anywhere; system readable, nothing writable, no home', 'extends': 'builtin:programs', 'optional': ['process.isolate', 'filesystem.proc'], 'filesystem': {'read': ['@system', '@runtime', '@dns', '@tls'], 'execute': ['@system', '@runtime'], 'home': 'hidden', 'proc': 'own', 'rules': [{'path': '/dev/null', 'access': ['read_file', 'write_file']}]}, 'network': {'connect': ['*']}, 'environment': {'pass': ['@basic', 'SSL_CERT_FILE', 'SSL_CERT_DIR', 'REQUESTS_CA_BUNDLE', 'CURL_CA_BUNDLE', 'NODE_EXTRA_CA_CERTS']}, 'process': {'isolate': True}},
        {('schema',): 6, ('description',): 7, ('extends',): 8, ('optional',): 9, ('optional', 0): 9, ('optional', 1): 9, ('filesystem',): 11, ('filesystem', 'read'): 12, ('filesystem', 'read', 0): 12, ('filesystem', 'read', 1): 12, ('filesystem', 'read', 2): 12, ('filesystem', 'read', 3): 12, ('filesystem', 'execute'): 13, ('filesystem', 'execute', 0): 13, ('filesystem', 'execute', 1): 13, ('filesystem', 'home'): 14, ('filesystem', 'proc'): 15, ('filesystem', 'rules'): 16, ('filesystem', 'rules', 0): 16, ('filesystem', 'rules', 0, 'path'): 16, ('filesystem', 'rules', 0, 'access'): 16, ('filesystem', 'rules', 0, 'access', 0): 16, ('filesystem', 'rules', 0, 'access', 1): 16, ('network',): 18, ('network', 'connect'): 19, ('network', 'connect', 0): 19, ('environment',): 21, ('environment', 'pass'): 22, ('environment', 'pass', 0): 22, ('environment', 'pass', 1): 22, ('environment', 'pass', 2): 22, ('environment', 'pass', 3): 22, ('environment', 'pass', 4): 22, ('environment', 'pass', 5): 22, ('process',): 24, ('process', 'isolate'): 25},
    ),
    # node.toml
    "011c5f42879eb061956f885bf108fc6b1ba99626bb8ee8bf856b5e403302f55d": lambda: (
        {'schema': 1, 'description': "Run Node.js in the current directory: default plus Node's variables", 'extends': 'builtin:default', 'filesystem': {'execute': ['/opt?']}, 'environment': {'pass': ['@basic', 'FORCE_COLOR', 'NODE_ENV', 'NODE_OPTIONS', 'NODE_PATH', 'NO_COLOR']}},
        {('schema',): 5, ('description',): 6, ('extends',): 7, ('filesystem',): 9, ('filesystem', 'execute'): 10, ('filesystem', 'execute', 0): 10, ('environment',): 12, ('environment', 'pass'): 13, ('environment', 'pass', 0): 13, ('environment', 'pass', 1): 13, ('environment', 'pass', 2): 13, ('environment', 'pass', 3): 13, ('environment', 'pass', 4): 13, ('environment', 'pass', 5): 13},
    ),
    # npm.toml
    "0325d83168dbda84e9251b227e1a6382c0539e71be159791b49ae2e2c3e78c9d": lambda: (
        {'schema': 1, 'description': 'Install Node.js packages here: node plus the registry by name', 'extends': 'builtin:node', 'network': {'connect': ['registry.npmjs.org:443']}, 'environment': {'pass': ['@basic', 'NODE_EXTRA_CA_CERTS', 'SSL_CERT_DIR', 'SSL_CERT_FILE']}},
        {('schema',): 7, ('description',): 8, ('extends',): 9, ('network',): 11, ('network', 'connect'): 12, ('network', 'connect', 0): 12, ('environment',): 14, ('environment', 'pass'): 15, ('environment', 'pass', 0): 15, ('environment', 'pass', 1): 15, ('environment', 'pass', 2): 15, ('environment', 'pass', 3): 15},
    ),
    # offline.toml
    "ba29b10750024f99ddcdfa2b2e4b35745bf342abcfe7de98d647c47f4680eb54": lambda: (
        {'schema': 1, 'description': 'All your files, no network at all', 'extends': 'builtin:programs', 'filesystem': {'read': ['@all'], 'write': ['@all'], 'execute': ['@all']}, 'environment': {'pass': ['@all']}},
        {('schema',): 6, ('description',): 7, ('extends',): 8, ('filesystem',): 10, ('filesystem', 'read'): 11, ('filesystem', 'read', 0): 11, ('filesystem', 'write'): 12, ('filesystem', 'write', 0): 12, ('filesystem', 'execute'): 13, ('filesystem', 'execute', 0): 13, ('environment',): 15, ('environment', 'pass'): 16, ('environment', 'pass', 0): 16},
    ),
    # pip.toml
    "a076c8f4ad94cb0b7d0fc603e6c8a2927df57869067455874a9bbdf32d789038": lambda: (
        {'schema': 1, 'description': 'Install Python packages here: python plus the package index by name', 'extends': 'builtin:python', 'filesystem': {'execute': ['/opt?']}, 'network': {'connect': ['pypi.org:443', 'files.pythonhosted.org:443']}, 'environment': {'pass': ['@basic', 'PIP_CERT', 'PIP_CONSTRAINT', 'PIP_DEFAULT_TIMEOUT', 'PIP_DISABLE_PIP_VERSION_CHECK', 'PIP_FIND_LINKS', 'PIP_NO_BINARY', 'PIP_ONLY_BINARY', 'REQUESTS_CA_BUNDLE', 'SSL_CERT_DIR', 'SSL_CERT_FILE']}},
        {('schema',): 7, ('description',): 8, ('extends',): 9, ('filesystem',): 11, ('filesystem', 'execute'): 12, ('filesystem', 'execute', 0): 12, ('network',): 14, ('network', 'connect'): 15, ('network', 'connect', 0): 15, ('network', 'connect', 1): 15, ('environment',): 17, ('environment', 'pass'): 18, ('environment', 'pass', 0): 19, ('environment', 'pass', 1): 19, ('environment', 'pass', 2): 19, ('environment', 'pass', 3): 19, ('environment', 'pass', 4): 19, ('environment', 'pass', 5): 19, ('environment', 'pass', 6): 20, ('environment', 'pass', 7): 20, ('environment', 'pass', 8): 20, ('environment', 'pass', 9): 20, ('environment', 'pass', 10): 20},
    ),
    # proc.toml
    "2623cd257b298b45f9983ef5bb7a0105658fe172f02d220dd7da491d84c388bb": lambda: (
        {'schema': 1, 'description': 'Building block: fork and signal (pledge proc)', 'syscalls': {'default': 'errno', 'promises': ['proc']}},
        {('schema',): 2, ('description',): 3, ('syscalls',): 5, ('syscalls', 'default'): 6, ('syscalls', 'promises'): 7, ('syscalls', 'promises', 0): 7},
    ),
    # programs.toml
    "5ce0d4800cb3bd15c506ddd180c175f2370e5d15d53e6846a83966eb0af56f09": lambda: (
        {'schema': 1, 'description': 'Building block: the system calls of ordinary programs', 'syscalls': {'default': 'errno', 'allow': ['@system-service', '@pkey', 'landlock_add_rule', 'landlock_create_ruleset', 'landlock_restrict_self', 'seccomp'], 'deny': ['@keyring', 'kcmp', 'migrate_pages', 'move_pages', 'personality', 'process_madvise', 'process_vm_readv', 'process_vm_writev', 'userfaultfd'], 'rules': [{'syscall': 'ioctl', 'arg': 1, 'op': 'eq', 'value': 21539, 'action': 'errno'}]}, 'process': {'tty': 'protected'}, 'rlimits': {'core': 0}},
        {('schema',): 7, ('description',): 8, ('syscalls',): 10, ('syscalls', 'default'): 11, ('syscalls', 'allow'): 12, ('syscalls', 'allow', 0): 13, ('syscalls', 'allow', 1): 13, ('syscalls', 'allow', 2): 13, ('syscalls', 'allow', 3): 13, ('syscalls', 'allow', 4): 13, ('syscalls', 'allow', 5): 13, ('syscalls', 'deny'): 15, ('syscalls', 'deny', 0): 16, ('syscalls', 'deny', 1): 16, ('syscalls', 'deny', 2): 16, ('syscalls', 'deny', 3): 16, ('syscalls', 'deny', 4): 16, ('syscalls', 'deny', 5): 16, ('syscalls', 'deny', 6): 16, ('syscalls', 'deny', 7): 17, ('syscalls', 'deny', 8): 17, ('syscalls', 'rules'): 20, ('syscalls', 'rules', 0): 20, ('syscalls', 'rules', 0, 'syscall'): 20, ('syscalls', 'rules', 0, 'arg'): 20, ('syscalls', 'rules', 0, 'op'): 20, ('syscalls', 'rules', 0, 'value'): 20, ('syscalls', 'rules', 0, 'action'): 20, ('process',): 22, ('process', 'tty'): 23, ('rlimits',): 25, ('rlimits', 'core'): 26},
    ),
    # python.toml
    "7a5efe427c5678f9c1f666207830444af3837471e705dc7519a827ab6a074a22": lambda: (
        {'schema': 1, 'description': "Run Python in the current directory: default plus Python's variables", 'extends': 'builtin:default', 'environment': {'pass': ['@basic', 'PYTHONDONTWRITEBYTECODE', 'PYTHONHASHSEED', 'PYTHONIOENCODING', 'PYTHONOPTIMIZE', 'PYTHONPATH', 'PYTHONUNBUFFERED', 'PYTHONUTF8', 'PYTHONWARNINGS', 'VIRTUAL_ENV']}},
        {('schema',): 6, ('description',): 7, ('extends',): 8, ('environment',): 10, ('environment', 'pass'): 11, ('environment', 'pass', 0): 12, ('environment', 'pass', 1): 12, ('environment', 'pass', 2): 12, ('environment', 'pass', 3): 12, ('environment', 'pass', 4): 12, ('environment', 'pass', 5): 12, ('environment', 'pass', 6): 13, ('environment', 'pass', 7): 13, ('environment', 'pass', 8): 13, ('environment', 'pass', 9): 13},
    ),
    # read-only.toml
    "13bb6e0901c1f3725ae8f76e82b0e589a970ff8f6315f2500d7301ece0a8d643": lambda: (
        {'schema': 1, 'description': 'Read the system and the current directory, change nothing, no network', 'extends': 'builtin:programs', 'optional': ['process.isolate', 'filesystem.proc'], 'filesystem': {'read': ['@system', '@runtime', '.'], 'execute': ['@system', '@runtime', '.'], 'home': 'hidden', 'proc': 'own', 'rules': [{'path': '/dev/null', 'access': ['read_file', 'write_file']}]}, 'environment': {'set': {'GIT_CONFIG_GLOBAL': '/dev/null'}}, 'process': {'isolate': True}},
        {('schema',): 6, ('description',): 7, ('extends',): 8, ('optional',): 9, ('optional', 0): 9, ('optional', 1): 9, ('filesystem',): 11, ('filesystem', 'read'): 12, ('filesystem', 'read', 0): 12, ('filesystem', 'read', 1): 12, ('filesystem', 'read', 2): 12, ('filesystem', 'execute'): 13, ('filesystem', 'execute', 0): 13, ('filesystem', 'execute', 1): 13, ('filesystem', 'execute', 2): 13, ('filesystem', 'home'): 14, ('filesystem', 'proc'): 15, ('filesystem', 'rules'): 16, ('filesystem', 'rules', 0): 16, ('filesystem', 'rules', 0, 'path'): 16, ('filesystem', 'rules', 0, 'access'): 16, ('filesystem', 'rules', 0, 'access', 0): 16, ('filesystem', 'rules', 0, 'access', 1): 16, ('environment',): 18, ('environment', 'set'): 20, ('environment', 'set', 'GIT_CONFIG_GLOBAL'): 20, ('process',): 22, ('process', 'isolate'): 23},
    ),
    # rpath.toml
    "3a402a6ccc2de4b0bae2a81fd67692b5e665f379ec7569480560016ccba2f8ca": lambda: (
        {'schema': 1, 'description': 'Building block: read the system and the current directory (pledge rpath)', 'filesystem': {'read': ['@system', '@runtime', '.']}, 'syscalls': {'default': 'errno', 'promises': ['rpath']}},
        {('schema',): 2, ('description',): 3, ('filesystem',): 5, ('filesystem', 'read'): 6, ('filesystem', 'read', 0): 6, ('filesystem', 'read', 1): 6, ('filesystem', 'read', 2): 6, ('syscalls',): 8, ('syscalls', 'default'): 9, ('syscalls', 'promises'): 10, ('syscalls', 'promises', 0): 10},
    ),
    # server.toml
    "a9e5ea9aa7f4db5fdeafafca902615e2ec6454127fa273eb1091f29ff2f21f3c": lambda: (
        {'schema': 1, 'description': 'Accept TCP connections on any port, connect nowhere, work in the current directory', 'extends': 'builtin:default', 'network': {'bind': ['tcp:*']}},
        {('schema',): 5, ('description',): 6, ('extends',): 7, ('network',): 9, ('network', 'bind'): 10, ('network', 'bind', 0): 10},
    ),
    # stdio.toml
    "7dde7d3a67385a990ad8091c33328e7b811d28066d79aa09859368b24f00bb53": lambda: (
        {'schema': 1, 'description': 'Building block: start, memory, open descriptors (pledge stdio)', 'filesystem': {'execute': ['@runtime']}, 'syscalls': {'default': 'errno', 'promises': ['stdio']}},
        {('schema',): 4, ('description',): 5, ('filesystem',): 7, ('filesystem', 'execute'): 8, ('filesystem', 'execute', 0): 8, ('syscalls',): 10, ('syscalls', 'default'): 11, ('syscalls', 'promises'): 12, ('syscalls', 'promises', 0): 12},
    ),
    # strict.toml
    "93b4bba0fb11f9e63d67459d51e5b66721f91063b6d4d0d6da2d48058592b002": lambda: (
        {'schema': 1, 'description': 'Standard input and output and memory only', 'filesystem': {'execute': ['@runtime']}, 'syscalls': {'default': 'errno', 'promises': ['stdio']}, 'environment': {'pass': ['LANG', 'LC_*', 'TZ']}, 'process': {'tty': 'protected'}, 'rlimits': {'core': 0}},
        {('schema',): 7, ('description',): 8, ('filesystem',): 10, ('filesystem', 'execute'): 11, ('filesystem', 'execute', 0): 11, ('syscalls',): 13, ('syscalls', 'default'): 14, ('syscalls', 'promises'): 15, ('syscalls', 'promises', 0): 15, ('environment',): 17, ('environment', 'pass'): 18, ('environment', 'pass', 0): 18, ('environment', 'pass', 1): 18, ('environment', 'pass', 2): 18, ('process',): 20, ('process', 'tty'): 21, ('rlimits',): 23, ('rlimits', 'core'): 24},
    ),
    # tmppath.toml
    "9ad42ad21a0ce5d581d2398ab19b7a38da0624f9a07fc59d3efc520cac4f2f57": lambda: (
        {'schema': 1, 'description': 'Building block: a private temporary directory (pledge tmppath)', 'filesystem': {'tmp': 'private'}, 'syscalls': {'default': 'errno', 'promises': ['tmppath']}},
        {('schema',): 2, ('description',): 3, ('filesystem',): 5, ('filesystem', 'tmp'): 6, ('syscalls',): 8, ('syscalls', 'default'): 9, ('syscalls', 'promises'): 10, ('syscalls', 'promises', 0): 10},
    ),
    # tty.toml
    "2d03302c5fdd910bc5bfe3d6f9888c656c743558b9b7b26ef3fd7fbb09fec868": lambda: (
        {'schema': 1, 'description': 'Building block: change terminal settings (pledge tty)', 'filesystem': {'write': ['@tty']}, 'syscalls': {'default': 'errno', 'promises': ['tty']}, 'process': {'tty': 'protected'}},
        {('schema',): 2, ('description',): 3, ('filesystem',): 5, ('filesystem', 'write'): 6, ('filesystem', 'write', 0): 6, ('syscalls',): 8, ('syscalls', 'default'): 9, ('syscalls', 'promises'): 10, ('syscalls', 'promises', 0): 10, ('process',): 12, ('process', 'tty'): 13},
    ),
    # unix.toml
    "c478a23e72080a42ea13e464a79f7f74f7882c1edd8f826380fb2e1dd3fcf4f5": lambda: (
        {'schema': 1, 'description': 'Building block: unix sockets (pledge unix)', 'network': {'unix': ['@all']}, 'syscalls': {'default': 'errno', 'promises': ['unix']}},
        {('schema',): 2, ('description',): 3, ('network',): 5, ('network', 'unix'): 6, ('network', 'unix', 0): 6, ('syscalls',): 8, ('syscalls', 'default'): 9, ('syscalls', 'promises'): 10, ('syscalls', 'promises', 0): 10},
    ),
    # wpath.toml
    "094fdc2bceb2aa0254fac0e7838a1b30e3ca2e35659b4d1cc09a83f2d72413a5": lambda: (
        {'schema': 1, 'description': 'Building block: change existing files in the current directory (pledge wpath)', 'filesystem': {'rules': [{'path': '.', 'access': ['read_file', 'read_dir', 'write_file', 'truncate']}, {'path': '/dev/null', 'access': ['read_file', 'write_file']}]}, 'syscalls': {'default': 'errno', 'promises': ['wpath']}},
        {('schema',): 4, ('description',): 5, ('filesystem',): 7, ('filesystem', 'rules'): 8, ('filesystem', 'rules', 0): 9, ('filesystem', 'rules', 0, 'path'): 9, ('filesystem', 'rules', 0, 'access'): 9, ('filesystem', 'rules', 0, 'access', 0): 9, ('filesystem', 'rules', 0, 'access', 1): 9, ('filesystem', 'rules', 0, 'access', 2): 9, ('filesystem', 'rules', 0, 'access', 3): 9, ('filesystem', 'rules', 1): 10, ('filesystem', 'rules', 1, 'path'): 10, ('filesystem', 'rules', 1, 'access'): 10, ('filesystem', 'rules', 1, 'access', 0): 10, ('filesystem', 'rules', 1, 'access', 1): 10, ('syscalls',): 13, ('syscalls', 'default'): 14, ('syscalls', 'promises'): 15, ('syscalls', 'promises', 0): 15},
    ),
}
