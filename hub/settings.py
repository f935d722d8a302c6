"""Django's settings, derived from one typed reading of the environment (hub/env.py)."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from csp.constants import NONE, SELF

from hub import database, env, secret

ENV = env.read_environment()
PRODUCTION = ENV.profile == "production"
DEBUG = ENV.debug

# ---------------------------------------------------------------- places
PACKAGE = Path(__file__).parent
DATA = ENV.data.resolve()
TEMPORARY = DATA / "tmp"
LOGS = DATA / "logs"
STATIC_ROOT = (ENV.static_root or DATA / "static").resolve()
for folder in (DATA, TEMPORARY, LOGS, STATIC_ROOT):
    folder.mkdir(parents=True, exist_ok=True)
STORE_URL = ENV.store_url or str(DATA / "store")
SERVING_URL = ENV.serving_url
PUBLIC_URL = ENV.public_address
SERVING_INTERNAL_URL = ENV.serving_internal_url or ENV.serving_url
SERVING_CALLERS = ENV.serving_callers
SERVING_ANSWERS_AT_ONCE = ENV.serving_answers_at_once
SERVING_TOKENS_PER_MINUTE = ENV.serving_tokens_per_minute
REPORT_KEY = ENV.report_key.get_secret_value() if ENV.report_key else ""
# Who may ask through the hub: on a hub of one machine's own whoever reaches it, else who has an account.
PLAYGROUND = ENV.playground or ("people" if PRODUCTION or SERVING_CALLERS == "passes" else "everybody")
IMPORT_FROM = ENV.import_from
READ_THROUGH = ENV.read_through
EXPORT_TO = ENV.export_to
SEARCH_ENCODER = ENV.search_encoder
SEARCH_ENCODER_REVISION = ENV.search_encoder_revision

# ------------------------------------------------------ what an upload, a lease and a leftover may be
LIMITS = ENV.limits
LEASE = timedelta(seconds=ENV.lease_seconds)
# Uploads come in bursts: what is known of a library's clusters is computed once for all of them.
CLUSTER_AFTER = timedelta(seconds=ENV.cluster_seconds)
GARBAGE_GRACE = timedelta(hours=ENV.garbage_grace_hours)
CHECKPOINT_LIFETIME = timedelta(days=ENV.checkpoint_days)
ABLATION_TOKENS = ENV.ablation_tokens
ABLATION_SECONDS = ENV.ablation_seconds
CRASH = ENV.crash

# ---------------------------------------------------------------- who may reach us
SECRET_KEY = ENV.secret_key.get_secret_value() if ENV.secret_key else secret.secret_in(DATA / "secret.key")
ALLOWED_HOSTS = list(ENV.allowed_hosts or env.LOOPBACK)
CSRF_TRUSTED_ORIGINS = list(ENV.trusted_origins)
HTTPS = PRODUCTION if ENV.https is None else ENV.https
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_SSL_REDIRECT = HTTPS
# Serving processes report from inside, beside the proxy; what they send is signed, and no secret.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^api/v1/uses$"]
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
TRUSTED_PROXIES = ALLAUTH_TRUSTED_PROXY_COUNT = ENV.trusted_proxies
if ENV.behind_proxy:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    USE_X_FORWARDED_HOST = True
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

# ---------------------------------------------------------------- what is installed
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.sitemaps",
    "hub.accounts",
    "hub.blobs",
    "hub.jobs",
    "hub.library",
    "hub.decisions",
    "hub.adapters",
    "hub.search",
    "hub.indexes",
    "hub.clusters",
    "hub.uses",
    "hub.downloads",
    "hub.hf",
    "hub.mirrors",
    "hub.exports",
    "hub.evaluations",
    "hub.ablations",
    "hub.notifications",
    "hub.reports",
    "hub.operations",
    "hub.pages",
    "django.contrib.admin",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "csp",
    "ninja",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "hub.http.HubErrorMiddleware",
]
ROOT_URLCONF = "hub.urls"
WSGI_APPLICATION = "hub.wsgi.application"
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [PACKAGE / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "hub.pages.bell.bell",
            ]
        },
    }
]

# ---------------------------------------------------------------- where things are kept
DATABASES = {
    "default": database.postgresql(
        ENV.database_url.get_secret_value(), statement_timeout_seconds=ENV.statement_timeout_seconds
    )
    if ENV.database_url
    else database.sqlite(DATA / "hub.sqlite3", synchronous=ENV.sqlite_synchronous)
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
_FOLDER_BLOBS: dict[str, Any] = {
    "BACKEND": "hub.blobs.folder.FolderBlobs",
    "OPTIONS": {"location": DATA / "blobs", "temporary": TEMPORARY},
}
_S3_BLOBS: dict[str, Any] = {
    "BACKEND": "hub.blobs.s3.S3Blobs",
    "OPTIONS": {
        "bucket_name": ENV.s3_bucket,
        "location": ENV.s3_prefix,
        "endpoint_url": ENV.s3_endpoint_url,
        "region_name": ENV.s3_region,
        "access_key": ENV.s3_access_key.get_secret_value() if ENV.s3_access_key else None,
        "secret_key": ENV.s3_secret_key.get_secret_value() if ENV.s3_secret_key else None,
        "file_overwrite": True,
        "cache": DATA / "cache" / "blobs",
    },
}
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": TEMPORARY}},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
    "blobs": _S3_BLOBS if ENV.s3_bucket else _FOLDER_BLOBS,
}
STATIC_URL = "/static/"
STATICFILES_DIRS = [PACKAGE / "static"]
WHITENOISE_USE_FINDERS = not PRODUCTION
FILE_UPLOAD_HANDLERS = ["hub.adapters.uploading.CountingUploadHandler"]
FILE_UPLOAD_TEMP_DIR = TEMPORARY
FILE_UPLOAD_PERMISSIONS = 0o600
DATA_UPLOAD_MAX_NUMBER_FILES = LIMITS.members + 2
REDIS_URL = ENV.redis_url.get_secret_value() if ENV.redis_url else None
CACHES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}

# ---------------------------------------------------------------- accounts
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
ACCOUNT_ADAPTER = "hub.accounts.signup.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = ENV.email_verification
ACCOUNT_PRESERVE_USERNAME_CASING = False
ACCOUNT_USERNAME_VALIDATORS = "hub.accounts.names.USERNAME_VALIDATORS"
ACCOUNT_LOGOUT_ON_GET = False
MFA_ADAPTER = "hub.accounts.second_factor.SecondFactorAdapter"
MFA_TOTP_ISSUER = "Fletch"
MFA_TOTP_TOLERANCE = 1  # clocks of phones are seldom half a minute wrong
# A hub that confirms no addresses would have no second factors else.
MFA_ALLOW_UNVERIFIED_EMAIL = ENV.email_verification != "mandatory"
CSRF_FAILURE_VIEW = "hub.pages.views.errors.csrf"
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if ENV.email_host else 'console'}.EmailBackend"
EMAIL_HOST = ENV.email_host or "localhost"
EMAIL_PORT = ENV.email_port
EMAIL_HOST_USER = ENV.email_user
EMAIL_HOST_PASSWORD = ENV.email_password.get_secret_value() if ENV.email_password else ""
EMAIL_USE_TLS = True
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = ENV.email_from

# ---------------------------------------------------------------- language, time, log
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
USE_I18N = False
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": ENV.log_level},
    "loggers": {
        "django.server": {"level": "WARNING", "propagate": True, "handlers": []},
        "django.db.backends": {"level": "WARNING"},
        "httpx2": {"level": "WARNING"},  # it would write signed addresses down
    },
}
