"""One service with all of them: its pages, its form, an API of its own, and the blueprint."""

from __future__ import annotations

from typing import Any

from flask import Flask, abort
from flask.views import MethodView
from flask_cors import CORS
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user
from flask_smorest import Api
from flask_smorest import Blueprint as ApiBlueprint
from flask_wtf.csrf import CSRFProtect, generate_csrf
from werkzeug.wrappers import Request

from flask_portkey_files import FilesCall, Target, create_blueprint

ORIGIN = "https://app.example"
#: How often each route of the Files API may be called a day, and the service's own API.
FILES_PER_DAY, PETS_PER_DAY = 6, 3
KEYS = {"anna": "sk-anna", "ben": "sk-ben"}


class User(UserMixin):  # type: ignore[misc]
    """Who is logged in, or came with a token."""

    def __init__(self, name: str) -> None:
        self.id = name


def resolve(call: FilesCall) -> Target:
    """Whoever is logged in has a key; the others have none."""
    if not current_user.is_authenticated:
        abort(401, "Log in first.")
    return Target("openai", api_key=KEYS[current_user.id])


def create_service() -> Flask:
    """Return the application."""
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY="only for tests",
        TESTING=True,
        API_TITLE="Pets",
        API_VERSION="v1",
        OPENAPI_VERSION="3.0.3",
        OPENAPI_URL_PREFIX="/",
        OPENAPI_JSON_PATH="openapi.json",
    )

    login = LoginManager(app)

    @login.user_loader  # type: ignore[untyped-decorator]
    def from_session(name: str) -> User | None:
        return User(name) if name in KEYS else None

    @login.request_loader  # type: ignore[untyped-decorator]
    def from_token(request: Request) -> User | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer token-of-")
        return User(token) if token in KEYS else None

    files = create_blueprint(resolve)
    csrf = CSRFProtect(app)
    csrf.exempt(files)
    limiter = Limiter(get_remote_address, app=app, storage_uri="memory://")
    limiter.limit(f"{FILES_PER_DAY} per day")(files)
    CORS(app, origins=[ORIGIN], supports_credentials=True, expose_headers=["x-request-id"])
    app.register_blueprint(files, url_prefix="/v1")

    @app.get("/login/<name>")
    def log_in(name: str) -> str:
        login_user(User(name))
        return "Welcome."

    @app.get("/me")
    @login_required  # type: ignore[untyped-decorator]
    def me() -> str:
        return str(current_user.id)

    @app.get("/token")
    def token() -> str:
        return str(generate_csrf())

    @app.post("/form")
    def form() -> str:
        return "Saved."

    pets = ApiBlueprint("pets", __name__, url_prefix="/pets")

    @pets.route("/<int:number>")
    class Pet(MethodView):
        @pets.response(200)  # type: ignore[untyped-decorator]
        def get(self, number: int) -> dict[str, Any]:
            if number != 1:
                abort(404, "No such pet.")
            return {"name": "Rex"}

    limiter.limit(f"{PETS_PER_DAY} per day")(pets)
    Api(app).register_blueprint(pets)
    return app
