"""Settings, read from the environment (see .env.example); what is missing or malformed stops the start."""

import atexit
import base64
import ipaddress
import os
import shutil
import sys
import tempfile
from pathlib import Path

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from datasets.importing import grants

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
# Set in the environment itself: the process that reads strangers' files is started without the portal's secrets.
ENV_FILE = Path(os.environ.get("AIMASS_ENV_FILE") or BASE_DIR / ".env")
if ENV_FILE.is_file():
    environ.Env.read_env(ENV_FILE)

TESTING = "pytest" in sys.modules
DEMO = env.bool("AIMASS_DEMO", default=False)
# Unsafe defaults exist only under script/demo and the tests.
UNSAFE = DEMO or TESTING
UNSAFE_PATIENT_KEY = base64.urlsafe_b64encode(b"for the demo and tests, no other").decode()
DEBUG = env.bool("DEBUG", default=False)
if UNSAFE:
    SECRET_KEY = env("SECRET_KEY", default="only-for-the-demo-and-the-tests-never-for-patients")
elif sys.argv[1:2] and sys.argv[1] in {"collectstatic", "compile_translations", "makemigrations", "check"}:
    SECRET_KEY = env("SECRET_KEY", default="only-for-commands-that-serve-nobody")
else:
    SECRET_KEY = env("SECRET_KEY")
# Fernet keys for what names a patient behind a pseudonym; the first one encrypts. Without one nothing is de-identified.
PATIENT_KEYS = env.list("AIMASS_PATIENT_KEYS", default=[UNSAFE_PATIENT_KEY] if UNSAFE else [])
for _key in PATIENT_KEYS:
    try:
        valid = len(base64.urlsafe_b64decode(_key)) == 32
    except ValueError:
        valid = False
    if not valid:
        raise ImproperlyConfigured("AIMASS_PATIENT_KEYS holds something that is no Fernet key: see .env.example.")
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "testserver", "embedded.aimass"] if UNSAFE else [])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
PORTAL_URL = env("AIMASS_PORTAL_URL", default="http://127.0.0.1:8000")

# The one folder that holds all that the default installation keeps: database, files, models.
if TESTING:
    # Each test process has a folder of its own. pytest-django reads the settings before any conftest is read.
    os.environ["AIMASS_DATA_DIR"] = tempfile.mkdtemp(prefix="aimass-tests-")
    atexit.register(shutil.rmtree, os.environ["AIMASS_DATA_DIR"], ignore_errors=True)
DATA_DIR = Path(env("AIMASS_DATA_DIR", default=str(BASE_DIR / ".data"))).resolve()
DATA_DIR.mkdir(parents=True, exist_ok=True)

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "csp",
    "django_q",
    "accounts",
    "jobs",
    "datasets",
    "training",
    "inference",
    "aimass_site",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "accounts.middleware.LanguageMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "accounts.middleware.ActorMiddleware",
]

ROOT_URLCONF = "aimass_site.urls"
WSGI_APPLICATION = "aimass_site.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django.template.context_processors.i18n",
                "aimass_site.navigation.navigation",
            ],
            "builtins": ["accounts.templatetags.aimass"],
        },
    }
]

if env("DATABASE_URL", default=""):
    DATABASES = {"default": env.db("DATABASE_URL")}
    DATABASES["default"]["CONN_MAX_AGE"] = env.int("CONN_MAX_AGE", default=600)
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    # A process that is frozen inside a transaction (a paused machine, a stopped process) keeps its locks; the server ends
    # its session. 0 turns it off, for a pooler between that does not pass options on.
    if idle_seconds := env.int("AIMASS_IDLE_TRANSACTION_SECONDS", default=300):
        options = DATABASES["default"].setdefault("OPTIONS", {})
        idle = f"-c idle_in_transaction_session_timeout={idle_seconds * 1000}"
        options["options"] = f"{options['options']} {idle}" if "options" in options else idle
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": DATA_DIR / "aimass.sqlite3",
            "CONN_MAX_AGE": None,
            # A file for the tests too: jobs' subprocesses and the live server's threads open it like the real one.
            "TEST": {"NAME": DATA_DIR / "tests.sqlite3"},
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;"
                " PRAGMA cache_size=-65536; PRAGMA mmap_size=268435456; PRAGMA temp_store=MEMORY;"
                " PRAGMA wal_autocheckpoint=10000;",
            },
        }
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": DATA_DIR / "files", "file_permissions_mode": 0o600, "directory_permissions_mode": 0o700},
    },
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if UNSAFE
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "staticfiles"
STATIC_ROOT.mkdir(exist_ok=True)
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = UNSAFE
WHITENOISE_AUTOREFRESH = False
# Uploads larger than this are spooled to disk by Django, never held in memory.
FILE_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
FILE_UPLOAD_TEMP_DIR = str(DATA_DIR / "incoming")
Path(FILE_UPLOAD_TEMP_DIR).mkdir(parents=True, exist_ok=True)
DATA_UPLOAD_MAX_MEMORY_SIZE = 16 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FILES = 600  # slices of a series, each an open file while they come; a zip of them has no such limit
MAX_UPLOAD_BYTES = env.int("AIMASS_MAX_UPLOAD_BYTES", default=2 * 1024**3)
UPLOAD_QUOTA_BYTES = env.int("AIMASS_UPLOAD_QUOTA_BYTES", default=500 * 1024**3)  # per organisation; 0: no limit
TRANSFER_HOURS = env.float("AIMASS_TRANSFER_HOURS", default=72.0)  # a weekend's failure should not cost what was sent on Friday
TRANSFER_SILENCE_SECONDS = env.float("AIMASS_TRANSFER_SILENCE_SECONDS", default=20.0)
DICOM_HOST = env("AIMASS_DICOM_HOST", default="127.0.0.1")  # DICOM is not encrypted: whoever opens it to a network says so
DICOM_PORT = env.int("AIMASS_DICOM_PORT", default=11112)
# What importers may reach beside the public internet, and the folders of this host that they may read: nothing unless granted
# to an organisation (see datasets/importing/grants.py).
IMPORT_NETWORKS = env.list("AIMASS_IMPORT_NETWORKS", default=[])
try:
    grants.check(IMPORT_NETWORKS, ipaddress.ip_network)
except ValueError as error:
    raise ImproperlyConfigured(f"AIMASS_IMPORT_NETWORKS: {error}. See .env.example.") from None
IMPORT_FOLDERS = env.list("AIMASS_IMPORT_FOLDERS", default=[])
try:
    grants.check(IMPORT_FOLDERS, grants.absolute)
except ValueError as error:
    raise ImproperlyConfigured(f"AIMASS_IMPORT_FOLDERS: {error}. See .env.example.") from None
IMPORT_CA_FILE = env("AIMASS_IMPORT_CA_FILE", default="")  # certificates (PEM) of a hospital's own authority
if IMPORT_CA_FILE and not Path(IMPORT_CA_FILE).is_file():
    raise ImproperlyConfigured(f"AIMASS_IMPORT_CA_FILE: there is no file {IMPORT_CA_FILE}.")

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = (
    ["django.contrib.auth.hashers.MD5PasswordHasher"] if TESTING else ["django.contrib.auth.hashers.Argon2PasswordHasher"]
)
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_CONFIRM_EMAIL_ON_GET = False
ACCOUNT_UNIQUE_EMAIL = True
ACCOUNT_EMAIL_NOTIFICATIONS = True  # a changed password or second factor is told to its owner
ACCOUNT_EMAIL_SUBJECT_PREFIX = "[AI Mass] "
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if not UNSAFE else "http"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = "AI Mass"
MFA_ADAPTER = "accounts.mfa.MFAAdapter"

# What the registration form offers; dotted, because accounts may not import training.
OUTCOME_SOURCE = "training.recommendation.known_outcomes"
METRIC_SOURCE = "training.recommendation.metric_choices"

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
FORMAT_MODULE_PATH = "aimass_site.formats"
TIME_ZONE = env("TIME_ZONE", default="UTC")
USE_I18N = True
USE_TZ = True

if env("EMAIL_URL", default=""):
    vars().update(env.email_url("EMAIL_URL"))
else:
    EMAIL_BACKEND = f"django.core.mail.backends.{'locmem' if TESTING else 'filebased'}.EmailBackend"
    EMAIL_FILE_PATH = DATA_DIR / "mail"
DEFAULT_FROM_EMAIL = env("DEFAULT_FROM_EMAIL", default="AI Mass <noreply@localhost>")
EMAIL_TIMEOUT = 10

SESSION_COOKIE_AGE = env.int("SESSION_COOKIE_AGE", default=12 * 3600)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not UNSAFE and env.bool("SECURE_COOKIES", default=True)
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = False
CSRF_FAILURE_VIEW = "aimass_site.views.csrf_failure"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_SSL_REDIRECT = not UNSAFE and env.bool("SECURE_SSL_REDIRECT", default=False)
SECURE_HSTS_SECONDS = 0 if UNSAFE else env.int("SECURE_HSTS_SECONDS", default=0)
if env.bool("BEHIND_TLS_PROXY", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", default=0)
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.rest.authentication.KeyAuthentication",
        "accounts.rest.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.rest.permissions.ActorMay"],
    "DEFAULT_RENDERER_CLASSES": ["accounts.rest.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["accounts.rest.parsers.JSONParser", "rest_framework.parsers.MultiPartParser"],
    "DEFAULT_PAGINATION_CLASS": "accounts.rest.pagination.CursorPagination",
    "DEFAULT_SCHEMA_CLASS": "accounts.rest.schema.AutoSchema",
    "DEFAULT_THROTTLE_CLASSES": ["accounts.rest.throttling.KeyThrottle"],
    "DEFAULT_THROTTLE_RATES": {
        "key": env("API_THROTTLE", default="6000/min"),
        "store": env("API_STORE_THROTTLE", default="60000/min"),
    },
    "EXCEPTION_HANDLER": "accounts.rest.problems.problem_handler",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "PAGE_SIZE": 50,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "AI Mass",
    "DESCRIPTION": "Medical AI as a service: records in, diagnoses with their uncertainty and reasons out.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "KindEnum": "datasets.models.Kind.choices",
        "ArrivedKindEnum": "datasets.arrivals.models.ArrivedKind.choices",
        "ColumnRoleEnum": "datasets.models.Role.choices",
        "JobStateEnum": "jobs.models.State.choices",
        "UploadStateEnum": "datasets.models.Upload.State",
        "ImporterRunStateEnum": "datasets.importing.models.ImporterRun.State",
        "SplitEnum": "datasets.models.Split.choices",
        "MemberRoleEnum": "accounts.serializers.ROLE_CHOICES",
        "KeyStateEnum": "accounts.serializers.KEY_STATES",
    },
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
}

CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
if env("CACHE_URL", default=""):
    CACHES = {"default": env.cache("CACHE_URL")}

# django-q2 is the doorbell, the Job row is the truth: see docs/adr and DESIGN section 4 for each of these values.
Q_QUEUES = ["heavy", "light"]
Q_CLUSTER = {
    # Also the salt of a bell's signature: one name for all clusters, or one queue could not read another's bells.
    "name": "heavy",
    "ALT_CLUSTERS": {"light": {}},
    "orm": "default",
    "workers": env.int("AIMASS_WORKERS", default=1),
    "timeout": 7 * 86400,
    "retry": 8 * 86400,
    "max_attempts": 1,
    "ack_failures": True,
    "save_limit": -1,
    "catch_up": False,
    "poll": 0.5,
    "queue_limit": 1,
    "label": "AI Mass",
}
AIMASS_WEIGHTS = env("AIMASS_WEIGHTS", default="")  # read by the engine from the environment; here it is documented
JOBS_EXECUTOR = env("AIMASS_EXECUTOR", default="local")
JOBS_LEASE_SECONDS = env.int("AIMASS_LEASE_SECONDS", default=60)
JOBS_BACKOFF_SECONDS = env.float("AIMASS_BACKOFF_SECONDS", default=10.0)
JOBS_GRACE_SECONDS = env.float("AIMASS_GRACE_SECONDS", default=15.0)
JOBS_STALL_SECONDS = env.float("AIMASS_STALL_SECONDS", default=45.0)  # a cluster that leaves work lying so long is restarted
JOBS_NODE_SILENT_SECONDS = env.float("AIMASS_NODE_SILENT_SECONDS", default=60.0)
JOBS_NODE_NAME = env("AIMASS_NODE_NAME", default="")  # default: the host's name
JOBS_NODE_CPUS = env.int("AIMASS_NODE_CPUS", default=0)  # 0: what the host has
JOBS_NODE_MEMORY_MB = env.int("AIMASS_NODE_MEMORY_MB", default=0)
JOBS_NODE_GPUS = env.int("AIMASS_NODE_GPUS", default=None)
JOBS_RAY_ADDRESS = env("AIMASS_RAY_ADDRESS", default="http://127.0.0.1:8265")
JOBS_RAY_TOKEN = env("AIMASS_RAY_TOKEN", default="")
JOBS_RAY_ENTRYPOINT = env("AIMASS_RAY_ENTRYPOINT", default="")  # the command on Ray's nodes before the job's number
JOBS_RAY_ENV = env.list("AIMASS_RAY_ENV", default=[])  # names of variables that are handed to Ray's nodes
JOBS_RAY_POLL_SECONDS = env.float("AIMASS_RAY_POLL_SECONDS", default=2.0)
# "queue": ring django-q2; "embedded": the SDK's in-process portal starts the job's subprocess itself.
JOBS_DISPATCH = env("AIMASS_DISPATCH", default="queue")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "plain"},
        "nowhere": {"class": "logging.NullHandler"},
    },
    "root": {"handlers": ["console"], "level": env("LOG_LEVEL", default="INFO")},
    "loggers": {
        "django.request": {"level": "ERROR"},
        "django-q": {"level": "WARNING"},
        # Its warnings quote the values of elements: patients' data. (It sets its own level when it is imported.)
        "pydicom": {"handlers": ["nowhere"], "propagate": False},
        "pynetdicom": {"handlers": ["nowhere"], "propagate": False},
        # At INFO they write each address with its query, which may name a patient, and file names.
        **{name: {"level": "WARNING"} for name in ("httpx", "httpcore")},
        "paramiko": {"handlers": ["nowhere"], "propagate": False},
    },
}

if not UNSAFE and DEBUG:
    raise ImproperlyConfigured("DEBUG shows patient data to strangers: it is allowed only in the demo (AIMASS_DEMO=1).")
