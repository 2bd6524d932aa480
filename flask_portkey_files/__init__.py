"""Portkey's Files API as a Flask blueprint."""

from __future__ import annotations

__version__ = "0.1.0"

from .blueprint import create_blueprint as create_blueprint
from .call import FilesCall as FilesCall
from .call import Operation as Operation
from .errors import FilesError as FilesError
from .form import UploadForm as UploadForm
from .providers.base import Provider as Provider
from .providers.openai import OpenAICompatible as OpenAICompatible
from .resolver import HeaderResolver as HeaderResolver
from .resolver import Resolver as Resolver
from .routing import Conditional as Conditional
from .routing import Fallback as Fallback
from .routing import LoadBalance as LoadBalance
from .routing import Retry as Retry
from .routing import Route as Route
from .routing import Target as Target
from .settings import Settings as Settings
from .signals import AnswerHead as AnswerHead
from .signals import Attempt as Attempt
from .signals import AttemptOutcome as AttemptOutcome
from .signals import Outcome as Outcome
from .signals import answer_started as answer_started
from .signals import attempt_finished as attempt_finished
from .signals import attempt_started as attempt_started
from .signals import call_finished as call_finished
from .signals import call_started as call_started
from .signals import spool_changed as spool_changed
