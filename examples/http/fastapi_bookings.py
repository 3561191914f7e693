"""A FastAPI endpoint that commits a booking and its answer together, in one transaction of SQLAlchemy.

A worker that dies leaves both or neither, so a repeat may run: `on_takeover="run"`.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from idemproof import AsyncSQLAlchemyPersistenceLayer, current_attempt, idempotency_table
from idemproof.http import protect

engine = create_async_engine(os.environ.get("DATABASE_URL", "sqlite+aiosqlite:///bookings.db"))


class Base(DeclarativeBase):
    pass


class Booking(Base):
    __tablename__ = "bookings"
    id: Mapped[int] = mapped_column(primary_key=True)
    seat: Mapped[str]


@asynccontextmanager
async def create_tables(_: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield


store = AsyncSQLAlchemyPersistenceLayer(engine, idempotency_table(Base.metadata))
app = FastAPI(lifespan=create_tables)
protect(app, persistence_store=store, on_takeover="run")


@app.post("/bookings/{seat}")
async def book(seat: str) -> JSONResponse:
    async with AsyncSession(engine) as session, session.begin():
        booking = Booking(seat=seat)
        session.add(booking)
        await session.flush()  # which gives it its number
        answer = JSONResponse({"booking": booking.id, "seat": seat}, status_code=201)
        return await current_attempt().acomplete(answer, within=session)
